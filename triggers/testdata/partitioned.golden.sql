-- channel "events": insert on "public"."events"
CREATE OR REPLACE FUNCTION "pubsub"."events_insert"() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET bytea_output = 'hex'
SET extra_float_digits = 1
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
AS $pubsub$
#variable_conflict use_column
DECLARE
  items text := '';
  item text;
  size integer := 0;
BEGIN
  BEGIN
    -- columns 9f310152
    IF ((
NEW.id > 0
)) IS NOT TRUE THEN RETURN NULL; END IF;
    size := "pubsub"."send"('events', '"op":"insert","rows":[' || row_to_json(new)::text || ']');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('events', '"op":"insert","lost":' || to_json(SQLERRM));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

CREATE OR REPLACE TRIGGER "pubsub_events_insert"
AFTER INSERT ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_insert"();

COMMENT ON TRIGGER "pubsub_events_insert" ON "public"."events" IS 'pubsub 4768af81';

-- channel "events": update on "public"."events"
CREATE OR REPLACE FUNCTION "pubsub"."events_update"() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET bytea_output = 'hex'
SET extra_float_digits = 1
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
SET IntervalStyle = 'postgres'
AS $pubsub$
#variable_conflict use_column
DECLARE
  items text := '';
  item text;
  size integer := 0;
BEGIN
  BEGIN
    -- columns 9f310152
    IF ((
NEW.id > 0
)) IS NOT TRUE THEN RETURN NULL; END IF;
    size := "pubsub"."send"('events', '"op":"update","rows":[' || '[' || row_to_json(old)::text || ',' || row_to_json(new)::text || ']' || ']');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'an event of channel % was lost: %', 'events', SQLERRM
      USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';
    BEGIN
      size := "pubsub"."send"('events', '"op":"update","lost":' || to_json(SQLERRM));
    EXCEPTION WHEN OTHERS THEN
      NULL; -- the warning has said it
    END;
  END;
  RETURN NULL;
END
$pubsub$;

CREATE OR REPLACE TRIGGER "pubsub_events_update"
AFTER UPDATE ON "public"."events"
FOR EACH ROW EXECUTE FUNCTION "pubsub"."events_update"();

COMMENT ON TRIGGER "pubsub_events_update" ON "public"."events" IS 'pubsub a2e9326e';

