-- A function that is declared on a channel, by its name. The rows say who gets
-- an event: a trigger needs no change when one is added.
CREATE TABLE IF NOT EXISTS {{schema}}.subscription (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  channel text NOT NULL,
  broadcast boolean NOT NULL,
  ordered boolean NOT NULL,
  paused_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX IF NOT EXISTS subscription_channel ON {{schema}}.subscription (channel);

-- What waits to be handled, once for each subscription. An event is ready when
-- run_at is NULL, and scheduled otherwise: delayed, to be tried again, or in the
-- hands of the worker whose lease it is. No foreign key, since writers would pay
-- for it; what a subscription leaves is swept up.
--
-- The rows of a large statement are packed: a packet's payload is an array of as
-- many as packed says, and stands for events of which each has a number of its
-- own, the packet's and those that follow it. A packet is as it was stored; an
-- event that has failed, is delayed or leased, or has a key, stands alone.
-- Packets are made to fit a page, and shouldn't be compressed for less.
CREATE TABLE IF NOT EXISTS {{schema}}.event (
  id bigint GENERATED ALWAYS AS IDENTITY (INCREMENT BY {{numbers}}),
  subscription_id integer NOT NULL,
  attempt integer NOT NULL DEFAULT 0,
  packed integer,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  run_at timestamptz,
  lease bigint,
  key bigint,
  op text,
  payload json NOT NULL,
  context text,
  error text
) WITH (
  toast_tuple_target = 8160,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000,
  toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX IF NOT EXISTS event_ready ON {{schema}}.event (subscription_id, id) WHERE run_at IS NULL;
CREATE INDEX IF NOT EXISTS event_scheduled ON {{schema}}.event (subscription_id, id) WHERE run_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_due ON {{schema}}.event (run_at) WHERE run_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_key ON {{schema}}.event (subscription_id, key, id) WHERE key IS NOT NULL;

-- What was given up on, with all that is needed to understand it and to try it
-- once more. It keeps the event's number.
CREATE TABLE IF NOT EXISTS {{schema}}.dead_event (
  id bigint PRIMARY KEY,
  subscription text NOT NULL,
  channel text NOT NULL,
  op text,
  payload json,
  context text,
  key bigint,
  attempt integer NOT NULL,
  error text NOT NULL,
  stack text,
  created_at timestamptz NOT NULL,
  died_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX IF NOT EXISTS dead_event_subscription ON {{schema}}.dead_event (subscription, id);
CREATE INDEX IF NOT EXISTS dead_event_died_at ON {{schema}}.dead_event (died_at);

-- json_of renders a row as JSON, and json_pair an update's two, where the plain
-- functions might fail: at a type's cast to json, or at a text beyond Postgres's
-- limit of 1 GB. The failure becomes the payload, a string, and ends in a dead
-- letter; the write goes on. The blocks write nothing, and so cost no
-- transaction number.
CREATE OR REPLACE FUNCTION {{schema}}.json_of(content record) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $pubsub$
BEGIN
  RETURN row_to_json(content);
EXCEPTION WHEN OTHERS THEN
  RETURN to_json('the row could not be rendered as JSON: SQLSTATE ' || SQLSTATE);
END
$pubsub$;
CREATE OR REPLACE FUNCTION {{schema}}.json_pair(before record, after record) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $pubsub$
BEGIN
  RETURN json_build_array(row_to_json(before), row_to_json(after));
EXCEPTION WHEN OTHERS THEN
  RETURN to_json('the row could not be rendered as JSON: SQLSTATE ' || SQLSTATE);
END
$pubsub$;
REVOKE ALL ON FUNCTION {{schema}}.json_of(record), {{schema}}.json_pair(record, record) FROM PUBLIC;

-- wake tells the processes that sleep on a channel to look at it. A queue of
-- notifications that is nearly full is left alone: it would make the commit
-- fail, and they look by themselves before long.
CREATE OR REPLACE FUNCTION {{schema}}.wake(channel text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $pubsub$
DECLARE
  ignored text;
BEGIN
  IF pg_notification_queue_usage() < 0.75 THEN
    ignored := pg_notify({{wake_literal}}, channel);
  END IF;
  RETURN 0;
END
$pubsub$;

-- publish stores a typed channel's value for each of its durable subscriptions,
-- and sends it to those that broadcast. gate is the channel's key. The empty
-- channel wakes who looks after the schedule; what is due later than they look
-- by themselves needs no waking. A typed channel's events have no keys of their
-- own: of an ordered subscription they share 0, which a delayed one gets when it
-- is due, so that it holds up nothing before.
CREATE OR REPLACE FUNCTION {{schema}}.publish(channel text, wire text, gate integer, data text, run_at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $pubsub$
#variable_conflict use_variable
DECLARE
  ignored integer;
BEGIN
  INSERT INTO {{schema}}.event (subscription_id, payload, context, run_at, key)
  SELECT s.id, COALESCE(data, 'null')::json, NULLIF(current_setting('pubsub.context', true), ''), run_at,
    CASE WHEN s.ordered AND run_at IS NULL THEN 0 END
  FROM {{schema}}.subscription AS s WHERE s.channel = channel AND NOT s.broadcast;
  IF FOUND AND run_at IS NULL AND NOT pg_try_advisory_xact_lock_shared({{gate}}, gate) THEN
    ignored := {{schema}}.wake(channel);
  ELSIF FOUND AND run_at < clock_timestamp() + interval '10 seconds' THEN
    ignored := {{schema}}.wake('');
  END IF;
  IF run_at IS NULL AND EXISTS (SELECT FROM {{schema}}.subscription AS s WHERE s.channel = channel AND s.broadcast) THEN
    ignored := {{schema}}.send(wire, '"data":' || COALESCE(data, 'null'));
  END IF;
END
$pubsub$;

-- members returns the events of a packet, and an event as it is.
CREATE OR REPLACE FUNCTION {{schema}}.members(id bigint, packed integer, payload json)
RETURNS TABLE (member_id bigint, member json) LANGUAGE sql IMMUTABLE AS $pubsub$
  SELECT id, payload WHERE packed IS NULL
  UNION ALL
  SELECT id + r.position - 1, r.member
  FROM pg_catalog.json_array_elements(CASE WHEN packed IS NOT NULL THEN payload ELSE '[]' END) WITH ORDINALITY AS r (member, position)
$pubsub$;

-- unpack replaces packets by their events.
CREATE OR REPLACE FUNCTION {{schema}}.unpack(subscription integer, packets bigint[]) RETURNS void
LANGUAGE sql SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $pubsub$
  WITH packet AS (
    DELETE FROM {{schema}}.event AS e WHERE e.ctid = ANY (ARRAY(
      SELECT c.ctid FROM {{schema}}.event AS c
      WHERE c.subscription_id = unpack.subscription AND c.id = ANY (packets) AND c.run_at IS NULL AND c.packed IS NOT NULL
      FOR UPDATE SKIP LOCKED))
    RETURNING e.*
  )
  INSERT INTO {{schema}}.event (id, subscription_id, created_at, op, payload, context, error) OVERRIDING SYSTEM VALUE
  SELECT m.member_id, p.subscription_id, p.created_at, p.op, m.member, p.context, p.error
  FROM packet AS p CROSS JOIN LATERAL {{schema}}.members(p.id, p.packed, p.payload) AS m
$pubsub$;

-- claim takes events out of the queue for the transaction that handles them.
-- Neither old nor missing statistics may lead to another plan than the one
-- through the index that is in the order of the events.
CREATE OR REPLACE FUNCTION {{schema}}.claim(subscription integer, after bigint, most integer)
RETURNS TABLE (id bigint, attempt integer, at timestamptz, op text, payload text, context text, key bigint, problem text, packed integer)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $pubsub$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT FROM {{schema}}.subscription AS s WHERE s.id = claim.subscription AND s.paused_at IS NOT NULL) THEN
    RETURN;
  END IF;
  RETURN QUERY
  DELETE FROM {{schema}}.event AS e WHERE e.ctid = ANY (ARRAY(
    SELECT c.ctid FROM {{schema}}.event AS c
    WHERE c.subscription_id = claim.subscription AND c.run_at IS NULL AND c.id > claim.after
    ORDER BY c.id LIMIT claim.most FOR UPDATE SKIP LOCKED))
  RETURNING e.id, e.attempt, e.created_at, COALESCE(e.op, ''), e.payload::text, COALESCE(e.context, ''), e.key,
    CASE WHEN e.attempt = 0 THEN COALESCE(e.error, '') ELSE '' END, e.packed;
END
$pubsub$;

-- heads returns the first event of each key after one, if that is ready: it
-- steps from key to key through the index, whatever waits behind the first.
-- Key 0 is shared by events of different rows, whose numbers need not be in the
-- order of their commits, so that an earlier one may turn up while a later one is
-- being handled. A lock keeps that apart, until the transaction ends, and leases
-- are looked for.
CREATE OR REPLACE FUNCTION {{schema}}.heads(subscription integer, after bigint, most integer) RETURNS bigint[]
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $pubsub$
#variable_conflict use_column
DECLARE
  shared boolean := false;
BEGIN
  IF EXISTS (SELECT FROM {{schema}}.event AS e WHERE e.subscription_id = heads.subscription AND e.key = 0) THEN
    shared := pg_try_advisory_xact_lock({{order}}, heads.subscription);
  END IF;
  IF shared THEN
    shared := NOT EXISTS (SELECT FROM {{schema}}.event AS e
      WHERE e.subscription_id = heads.subscription AND e.run_at IS NOT NULL AND e.lease IS NOT NULL AND e.key = 0);
  END IF;
  RETURN ARRAY(
    WITH RECURSIVE walk AS (
      (SELECT e.key, e.id, e.run_at FROM {{schema}}.event AS e
       WHERE e.subscription_id = heads.subscription AND e.key > heads.after
       ORDER BY e.subscription_id, e.key, e.id LIMIT 1)
      UNION ALL
      SELECT n.key, n.id, n.run_at FROM walk AS w CROSS JOIN LATERAL (
        SELECT e.key, e.id, e.run_at FROM {{schema}}.event AS e
        WHERE e.subscription_id = heads.subscription AND e.key > w.key
        ORDER BY e.subscription_id, e.key, e.id LIMIT 1) AS n
    )
    SELECT w.id FROM walk AS w WHERE w.run_at IS NULL AND (w.key <> 0 OR shared) LIMIT heads.most);
END
$pubsub$;

-- claim_ordered is claim for a subscription whose events go one at a time for
-- each key: the first of each key, and, as long as there is room, those that
-- follow it. Nobody else takes a key of which we hold the first. after is a key,
-- so that all keys have their turn.
CREATE OR REPLACE FUNCTION {{schema}}.claim_ordered(subscription integer, after bigint, most integer)
RETURNS TABLE (id bigint, attempt integer, at timestamptz, op text, payload text, context text, key bigint, problem text, packed integer)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $pubsub$
#variable_conflict use_column
DECLARE
  found bigint[];
  places tid[];
  followers bigint[];
  room integer;
  last bigint := after;
BEGIN
  IF EXISTS (SELECT FROM {{schema}}.subscription AS s WHERE s.id = claim_ordered.subscription AND s.paused_at IS NOT NULL) THEN
    RETURN;
  END IF;
  LOOP
    found := {{schema}}.heads(subscription, last, most);
    places := ARRAY(SELECT c.ctid FROM {{schema}}.event AS c
      WHERE c.subscription_id = claim_ordered.subscription AND c.id = ANY (found) AND c.run_at IS NULL
      FOR UPDATE SKIP LOCKED);
    -- Others may have all of them, and none of those after them.
    EXIT WHEN cardinality(places) > 0 OR cardinality(found) < most;
    SELECT max(c.key) INTO last FROM {{schema}}.event AS c WHERE c.subscription_id = claim_ordered.subscription AND c.id = ANY (found) AND c.run_at IS NULL;
    EXIT WHEN last IS NULL;
  END LOOP;
  room := claim_ordered.most - cardinality(places);
  IF room > 0 AND cardinality(places) > 0 THEN
    -- As many of each key, and no further than one that waits for its time.
    followers := ARRAY(
      SELECT f.id FROM {{schema}}.event AS h CROSS JOIN LATERAL (
        SELECT c.id, bool_and(c.run_at IS NULL) OVER (ORDER BY c.id ROWS UNBOUNDED PRECEDING) AS ready
        FROM (SELECT b.id, b.run_at FROM {{schema}}.event AS b
          WHERE b.subscription_id = claim_ordered.subscription AND b.key = h.key AND b.id > h.id
          ORDER BY b.subscription_id, b.key, b.id LIMIT greatest(1, room / cardinality(places))) AS c) AS f
      WHERE h.ctid = ANY (places) AND f.ready LIMIT room);
    places := places || ARRAY(
      SELECT c.ctid FROM {{schema}}.event AS c
      WHERE c.subscription_id = claim_ordered.subscription AND c.id = ANY (followers) AND c.run_at IS NULL
      FOR UPDATE);
  END IF;
  RETURN QUERY
  DELETE FROM {{schema}}.event AS e WHERE e.ctid = ANY (places)
  RETURNING e.id, e.attempt, e.created_at, COALESCE(e.op, ''), e.payload::text, COALESCE(e.context, ''), e.key,
    CASE WHEN e.attempt = 0 THEN COALESCE(e.error, '') ELSE '' END, e.packed;
END
$pubsub$;

-- lease takes events for a time, in which they belong to the lease. Of an ordered
-- subscription it takes the first of each key only, and after is a key. Packets
-- are unpacked first.
CREATE OR REPLACE FUNCTION {{schema}}.lease(subscription integer, after bigint, most integer, lease bigint, length interval, ordered boolean)
RETURNS TABLE (id bigint, attempt integer, at timestamptz, op text, payload text, context text, key bigint, problem text, packed integer)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $pubsub$
#variable_conflict use_column
DECLARE
  found bigint[];
  places tid[];
  ignored text;
BEGIN
  IF EXISTS (SELECT FROM {{schema}}.subscription AS s WHERE s.id = lease.subscription AND s.paused_at IS NOT NULL) THEN
    RETURN;
  END IF;
  IF lease.ordered THEN
    found := {{schema}}.heads(subscription, after, most);
    places := ARRAY(SELECT c.ctid FROM {{schema}}.event AS c
      WHERE c.subscription_id = lease.subscription AND c.id = ANY (found) AND c.run_at IS NULL FOR UPDATE SKIP LOCKED);
  ELSE
    found := ARRAY(
      SELECT q.id FROM (
        SELECT c.id, c.packed, sum(COALESCE(c.packed, 1)) OVER (ORDER BY c.id ROWS UNBOUNDED PRECEDING) - COALESCE(c.packed, 1) AS before
        FROM (SELECT b.id, b.packed FROM {{schema}}.event AS b
          WHERE b.subscription_id = lease.subscription AND b.run_at IS NULL AND b.id > lease.after
          ORDER BY b.id LIMIT lease.most) AS c) AS q
      WHERE q.packed IS NOT NULL AND q.before < lease.most);
    IF cardinality(found) > 0 THEN
      ignored := {{schema}}.unpack(subscription, found);
    END IF;
    places := ARRAY(SELECT c.ctid FROM {{schema}}.event AS c
      WHERE c.subscription_id = lease.subscription AND c.run_at IS NULL AND c.packed IS NULL AND c.id > lease.after
      ORDER BY c.id LIMIT lease.most FOR UPDATE SKIP LOCKED);
  END IF;
  RETURN QUERY
  UPDATE {{schema}}.event AS e SET attempt = e.attempt + 1, run_at = clock_timestamp() + lease.length, lease = lease.lease
  WHERE e.ctid = ANY (places)
  RETURNING e.id, e.attempt - 1, e.created_at, COALESCE(e.op, ''), e.payload::text, COALESCE(e.context, ''), e.key,
    CASE WHEN e.attempt = 1 THEN COALESCE(e.error, '') ELSE '' END, e.packed;
END
$pubsub$;

-- promote makes events ready whose time has come, wakes who waits for them, and
-- returns how many seconds it is until the next one, 3,600 at the most, and NULL
-- for none.
CREATE OR REPLACE FUNCTION {{schema}}.promote(most integer) RETURNS double precision
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $pubsub$
DECLARE
  moment timestamptz := clock_timestamp();
  ignored bigint;
BEGIN
  WITH due AS (
    UPDATE {{schema}}.event AS e SET run_at = NULL, lease = NULL,
      key = COALESCE(e.key, (SELECT 0 FROM {{schema}}.subscription AS s WHERE s.id = e.subscription_id AND s.ordered))
    WHERE e.ctid = ANY (ARRAY(
      SELECT c.ctid FROM {{schema}}.event AS c WHERE c.run_at <= moment
      ORDER BY c.run_at LIMIT most FOR UPDATE SKIP LOCKED))
    RETURNING e.subscription_id
  ), woken AS (
    SELECT {{schema}}.wake(s.channel) FROM {{schema}}.subscription AS s WHERE s.id IN (SELECT subscription_id FROM due)
  )
  SELECT count(*) INTO ignored FROM woken;
  RETURN (SELECT LEAST(3600, extract(epoch FROM c.run_at - moment)) FROM {{schema}}.event AS c
    WHERE c.run_at IS NOT NULL AND c.run_at < 'infinity' ORDER BY c.run_at LIMIT 1);
END
$pubsub$;

-- A process that listens compares the triggers with the subscriptions.
GRANT SELECT ON {{schema}}.subscription TO PUBLIC;
