-- channel "authors_delete": delete on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_delete_delete_a9ede22e"() RETURNS trigger
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
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_delete,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    FOR item IN
      SELECT ',' || row_to_json(old.*)::text
      FROM old_rows AS old
    LOOP
      IF size > 0 AND size + octet_length(item) > 7800 THEN
        size := "pubsub"."send"('authors_delete', '"op":"delete","rows":[' || substr(items, 2) || ']');
        items := '';
      END IF;
      items := items || item;
      size := size + octet_length(item);
    END LOOP;
    IF size > 0 THEN
      size := "pubsub"."send"('authors_delete', '"op":"delete","rows":[' || substr(items, 2) || ']');
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'authors_delete', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('authors_delete', '"op":"delete","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_delete_delete_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_delete_delete"
AFTER DELETE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_delete_delete_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_delete_delete" ON "public"."authors" IS 'pubsub 4190b726 authors_delete';

