-- channel "authors_save": delete on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_save_delete_a9ede22e"() RETURNS trigger
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
  pubsub_state text; -- a name that no column has
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'delete', CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((old."id"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM old_rows AS old
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'delete', CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
        FROM old_rows AS old
        CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'authors_save', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_delete_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_delete"
AFTER DELETE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_delete_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_delete" ON "public"."authors" IS 'pubsub f52780a8 authors_save';

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
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((new."id"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM new_rows AS new
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'insert', CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
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
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_insert_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_insert"
AFTER INSERT ON "public"."authors"
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_insert_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_insert" ON "public"."authors" IS 'pubsub 4f6d7b86 authors_save';

-- channel "authors_save": truncate on "public"."authors"
CREATE OR REPLACE FUNCTION "pubsub"."authors_save_truncate_a9ede22e"() RETURNS trigger
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
  pubsub_state text; -- a name that no column has
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'truncate', 'null'::pg_catalog.json,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
      FROM "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'truncate', 'null'::pg_catalog.json,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
        FROM "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'authors_save', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_truncate_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_truncate"
AFTER TRUNCATE ON "public"."authors"
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_truncate_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_truncate" ON "public"."authors" IS 'pubsub 806dadc1 authors_save';

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
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((new."id"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
      FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
      ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'authors_save', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size("pubsub old row") OPERATOR(pg_catalog.+) pg_catalog.pg_column_size("pubsub new row") OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"("pubsub old row", "pubsub new row") ELSE pg_catalog.json_build_array("pubsub old row", "pubsub new row") END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
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
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_update_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_update"
AFTER UPDATE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_update_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_update" ON "public"."authors" IS 'pubsub 08cdc782 authors_save';

