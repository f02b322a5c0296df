-- channel "events": insert on "public"."events"
CREATE OR REPLACE FUNCTION "pubsub"."events_insert_bb941f4d"() RETURNS trigger
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
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',events,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  -- columns 9f310152
  BEGIN
    IF ((
NEW.id > 0
)) IS TRUE THEN
      size := "pubsub"."send"('events', '"op":"insert","rows":[' || row_to_json(new)::text || ']');
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('events', '"op":"insert","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."events_insert_bb941f4d"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_events_insert"
AFTER INSERT ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_insert_bb941f4d"();

COMMENT ON TRIGGER "pubsub_events_insert" ON "public"."events" IS 'pubsub 5558fb14 events';

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
  items text := '';
  item text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',events,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  -- columns 9f310152
  BEGIN
    IF ((
NEW.id > 0
)) IS TRUE THEN
      size := "pubsub"."send"('events', '"op":"update","rows":[' || '[' || row_to_json(old)::text || ',' || row_to_json(new)::text || ']' || ']');
    END IF;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('events', '"op":"update","lost":' || to_json(SQLSTATE));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."events_update_bb941f4d"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_events_update"
AFTER UPDATE ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_update_bb941f4d"();

COMMENT ON TRIGGER "pubsub_events_update" ON "public"."events" IS 'pubsub cf74ecbd events';

