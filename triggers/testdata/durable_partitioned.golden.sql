-- channel "events": delete on "public"."events"
CREATE OR REPLACE FUNCTION "pubsub"."events_delete_bb941f4d"() RETURNS trigger
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
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',events,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  -- columns 9f310152
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'delete', CASE WHEN pg_catalog.pg_column_size(old) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old) ELSE pg_catalog.row_to_json(old) END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((old."id"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'events' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'delete', CASE WHEN pg_catalog.pg_column_size(old) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old) ELSE pg_catalog.row_to_json(old) END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
        FROM "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'events' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'events', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, -2044454983) THEN
    size := "pubsub"."wake"('events');
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."events_delete_bb941f4d"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_events_delete"
AFTER DELETE ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_delete_bb941f4d"();

COMMENT ON TRIGGER "pubsub_events_delete" ON "public"."events" IS 'pubsub 8aaab70a events';

-- channel "events": update on "public"."events"
CREATE OR REPLACE FUNCTION "pubsub"."events_update_bb941f4d"() RETURNS trigger
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
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',events,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  -- columns 9f310152
  BEGIN
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size(old) OPERATOR(pg_catalog.+) pg_catalog.pg_column_size(new) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"(old, new) ELSE pg_catalog.json_build_array(old, new) END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((new."id"::text) COLLATE "C", 0), 0), 1) END, NULL
      FROM "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'events' AND NOT pubsub_subscription.broadcast;
  EXCEPTION WHEN OTHERS THEN
    pubsub_state := SQLSTATE;
    RAISE WARNING 'the key of channel % can not be read: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded, and its events wait. After a change of the table run Migrate again.';
    BEGIN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
        SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size(old) OPERATOR(pg_catalog.+) pg_catalog.pg_column_size(new) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"(old, new) ELSE pg_catalog.json_build_array(old, new) END,
          CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, CASE WHEN pubsub_subscription.ordered THEN 0 END, NULL
        FROM "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'events' AND NOT pubsub_subscription.broadcast;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'events of channel % were lost: %', 'events', SQLERRM;
    END;
  END;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, -2044454983) THEN
    size := "pubsub"."wake"('events');
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."events_update_bb941f4d"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_events_update"
AFTER UPDATE ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_update_bb941f4d"();

COMMENT ON TRIGGER "pubsub_events_update" ON "public"."events" IS 'pubsub 0e624a16 events';

