-- Each statement can run again on what it made: a schema that was restored
-- without its data has everything but the record of the migrations.

-- Broadcasts: what a notification is too small for is stored here, and the
-- notification carries its number. Rows are removed by listening processes.
CREATE TABLE IF NOT EXISTS {{schema}}.payload (
  id bigint PRIMARY KEY,
  channel text NOT NULL,
  body text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- Numbers every notification, so that Postgres never takes two for one.
CREATE SEQUENCE IF NOT EXISTS {{schema}}.notification_id;

-- send notifies the channel. content is the inside of a JSON object; what the
-- transaction gave its events to carry comes before it, as a string. It returns
-- 0, so that plpgsql can call it in an assignment, which is its cheapest call.
-- A payload of 8,000 bytes or more would be an error, and a full queue would
-- make the commit fail: the first is stored instead, the second is lost with a
-- warning while there is still room for others.
CREATE OR REPLACE FUNCTION {{schema}}.send(channel text, content text) RETURNS integer
LANGUAGE plpgsql AS $pubsub$
DECLARE
  id bigint := nextval('{{schema_literal}}.notification_id'::regclass);
  message text := '{"pubsub":' || id || ',"at":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    || COALESCE(',"context":' || to_json(NULLIF(current_setting('pubsub.context', true), '')), '') || ',' || content || '}';
  ignored text;
BEGIN
  IF pg_notification_queue_usage() > 0.75 THEN
    RAISE WARNING 'a notification on channel % was lost: the notification queue is three quarters full', channel
      USING HINT = 'A listening session has been in a transaction for long: see pg_stat_activity.';
    RETURN 0;
  END IF;
  IF octet_length(message) > 7999 THEN
    INSERT INTO {{schema}}.payload (id, channel, body) VALUES (id, channel, message);
    message := '{"pubsub":' || id || ',"stored":true}';
  END IF;
  ignored := pg_notify(channel, message);
  RETURN 0;
END
$pubsub$;
REVOKE ALL ON FUNCTION {{schema}}.send(text, text) FROM PUBLIC;

-- notify is send for applications: a typed channel's value, with the rights of
-- this function's owner. It has a caller who can be told of a full queue.
CREATE OR REPLACE FUNCTION {{schema}}.notify(channel text, data text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $pubsub$
DECLARE
  ignored integer;
BEGIN
  IF pg_notification_queue_usage() > 0.75 THEN
    RAISE EXCEPTION 'the notification queue is three quarters full'
      USING ERRCODE = 'program_limit_exceeded',
        HINT = 'A listening session has been in a transaction for long: see pg_stat_activity.';
  END IF;
  ignored := {{schema}}.send(channel, '"data":' || data);
END
$pubsub$;

-- A process that listens looks at the version.
GRANT SELECT ON {{schema}}.migration TO PUBLIC;
