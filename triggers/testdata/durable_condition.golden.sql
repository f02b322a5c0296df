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
AS $pubsub$
-- made by pubsub for GORM; changes are undone by its Migrate
#variable_conflict use_column
DECLARE
  size pg_catalog.int4 := 0;
  items text := '';
  item text;
  pubsub_state text; -- a name that no column has
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'insert', CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((new."id"::text || ',' || new."name"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM new_rows AS new
      CROSS JOIN (SELECT (NULL::"public"."authors").*) AS old
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast AND ((
NEW.score > 10
));
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the condition or the columns of channel % can not be tested: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its rows are kept among the dead letters. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'insert', CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, 'the condition or the columns could not be tested: SQLSTATE ' || pubsub_state
        FROM new_rows AS new
        CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'authors_save', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  size := 0;
  BEGIN
    FOR item IN
      SELECT ',' || row_to_json(new.*)::text
      FROM new_rows AS new
      CROSS JOIN (SELECT (NULL::"public"."authors").*) AS old
      WHERE (
NEW.score > 10
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
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_insert_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_insert"
AFTER INSERT ON "public"."authors"
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_insert_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_insert" ON "public"."authors" IS 'pubsub 2ba6464a authors_save';

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
AS $pubsub$
-- made by pubsub for GORM; changes are undone by its Migrate
#variable_conflict use_column
DECLARE
  size pg_catalog.int4 := 0;
  items text := '';
  item text;
  pubsub_state text; -- a name that no column has
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size("pubsub old row") OPERATOR(pg_catalog.+) pg_catalog.pg_column_size("pubsub new row") OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"("pubsub old row", "pubsub new row") ELSE pg_catalog.json_build_array("pubsub old row", "pubsub new row") END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((new."id"::text || ',' || new."name"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
      FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
      ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast AND ("pubsub old position" IS NULL OR "pubsub new position" IS NULL OR ((old."name" IS DISTINCT FROM new."name") AND (
NEW.score > 10
)));
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the condition or the columns of channel % can not be tested: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its rows are kept among the dead letters. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size("pubsub old row") OPERATOR(pg_catalog.+) pg_catalog.pg_column_size("pubsub new row") OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"("pubsub old row", "pubsub new row") ELSE pg_catalog.json_build_array("pubsub old row", "pubsub new row") END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, 'the condition or the columns could not be tested: SQLSTATE ' || pubsub_state
        FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
        FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
        ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
        CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'authors_save', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  size := 0;
  BEGIN
    FOR item IN
      SELECT ',' || '[' || row_to_json("pubsub old row")::text || ',' || row_to_json("pubsub new row")::text || ']'
      FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
      FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
      ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
      WHERE "pubsub old position" IS NULL OR "pubsub new position" IS NULL OR ((old."name" IS DISTINCT FROM new."name") AND (
NEW.score > 10
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
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_update_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_update"
AFTER UPDATE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_update_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_update" ON "public"."authors" IS 'pubsub 27df3e7d authors_save';

