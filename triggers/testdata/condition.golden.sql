-- channel "authors_save": insert on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_save_insert_a9ede22e"() RETURNS trigger
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
AS $pubsub_7f091b4e$
-- made by pubsub for GORM; changes are undone by its Migrate
#variable_conflict use_column
DECLARE
  size pg_catalog.int4 := 0;
  items text := '';
  item text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    FOR item IN
      SELECT ',' || row_to_json(new.*)::text
      FROM new_rows AS new
      CROSS JOIN (SELECT (NULL::"public"."authors").*) AS old
      WHERE (
NEW.score > 10 -- '$pubsub$' \
)
    LOOP
      IF size > 0 AND size + octet_length(item) > 7800 THEN
        size := "pubsub"."send"('authors_save', '"op":"insert","rows":[' || substr(items, 2) || ']');
        items := '';
      END IF;
      items := items || item;
      size := size + octet_length(item);
    END LOOP;
    IF size > 0 THEN
      size := "pubsub"."send"('authors_save', '"op":"insert","rows":[' || substr(items, 2) || ']');
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('authors_save', '"op":"insert","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub_7f091b4e$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_insert_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_insert"
AFTER INSERT ON "public"."authors"
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_insert_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_insert" ON "public"."authors" IS 'pubsub af16f140 authors_save';

-- channel "authors_save": update on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_save_update_a9ede22e"() RETURNS trigger
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
AS $pubsub_f378200c$
-- made by pubsub for GORM; changes are undone by its Migrate
#variable_conflict use_column
DECLARE
  size pg_catalog.int4 := 0;
  items text := '';
  item text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    FOR item IN
      SELECT ',' || '[' || row_to_json("pubsub old row")::text || ',' || row_to_json("pubsub new row")::text || ']'
      FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
      FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
      ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
      WHERE "pubsub old position" IS NULL OR "pubsub new position" IS NULL OR ((
NEW.score > 10 -- '$pubsub$' \
))
    LOOP
      IF item IS NULL THEN RAISE 'the old and the new rows of an update do not pair'; END IF;
      IF size > 0 AND size + octet_length(item) > 7800 THEN
        size := "pubsub"."send"('authors_save', '"op":"update","rows":[' || substr(items, 2) || ']');
        items := '';
      END IF;
      items := items || item;
      size := size + octet_length(item);
    END LOOP;
    IF size > 0 THEN
      size := "pubsub"."send"('authors_save', '"op":"update","rows":[' || substr(items, 2) || ']');
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('authors_save', '"op":"update","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub_f378200c$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_update_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_update"
AFTER UPDATE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_update_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_update" ON "public"."authors" IS 'pubsub 198e73d1 authors_save';

