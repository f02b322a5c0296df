-- channel "authors_truncate": truncate on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_truncate_truncate_a9ede22e"() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET bytea_output = 'hex'
SET extra_float_digits = 1
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
SET standard_conforming_strings = on
SET transform_null_equals = off
SET jit = off
AS $pubsub$
-- made by pubsub for GORM; changes are undone by its Migrate
#variable_conflict use_column
DECLARE
  size pg_catalog.int4 := 0;
  items text := '';
  item text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_truncate,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    size := "pubsub"."send"('authors_truncate', '"op":"truncate","rows":[' || 'null' || ']');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'authors_truncate', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('authors_truncate', '"op":"truncate","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_truncate_truncate_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_truncate_truncate"
AFTER TRUNCATE ON "public"."authors"
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_truncate_truncate_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_truncate_truncate" ON "public"."authors" IS 'pubsub cb0dd7be authors_truncate';

