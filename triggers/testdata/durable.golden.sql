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
  pubsub_rows pg_catalog.int4;
  pubsub_jit pg_catalog.text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO "pubsub"."event" (subscription_id, op, payload, context)
    SELECT pubsub_subscription.id, 'delete', pubsub_row.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END
    FROM (SELECT CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END AS payload FROM old_rows AS old LIMIT 8) AS pubsub_row
    CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
    WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  GET DIAGNOSTICS pubsub_rows = ROW_COUNT;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  IF pubsub_rows OPERATOR(pg_catalog.>=) 8 THEN
    pubsub_rows := (SELECT LEAST(64, 7000 OPERATOR(pg_catalog./) pg_catalog.octet_length((CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END)::pg_catalog.text)) FROM old_rows AS old OFFSET 8 LIMIT 1);
    IF pubsub_rows OPERATOR(pg_catalog.>) 1 THEN
      pubsub_jit := pg_catalog.current_setting('jit');
      PERFORM pg_catalog.set_config('jit', 'off', true);
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, packed)
        SELECT pubsub_subscription.id, 'delete', pubsub_packet.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, pubsub_packet.packed
        FROM (
          SELECT (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows AS number, pg_catalog.json_agg(pubsub_row.payload) AS payload, pg_catalog.count(*) AS packed FROM (
            SELECT CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END AS payload, pg_catalog.row_number() OVER () AS position
            FROM old_rows AS old
            OFFSET 8
          ) AS pubsub_row
          GROUP BY (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows, CASE WHEN pg_catalog.pg_column_size(pubsub_row.payload) OPERATOR(pg_catalog.>) 7000 THEN pubsub_row.position END OFFSET 0
        ) AS pubsub_packet CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast
        ORDER BY pubsub_packet.number;
      pubsub_jit := pg_catalog.set_config('jit', pubsub_jit, true);
    ELSIF pubsub_rows IS NOT NULL THEN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context)
        SELECT pubsub_subscription.id, 'delete', pubsub_row.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END
        FROM (SELECT CASE WHEN pg_catalog.pg_column_size(old.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(old.*) ELSE pg_catalog.row_to_json(old.*) END AS payload FROM old_rows AS old OFFSET 8) AS pubsub_row
        CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    END IF;
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_delete_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_delete"
AFTER DELETE ON "public"."authors"
REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_delete_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_delete" ON "public"."authors" IS 'pubsub 7508869d authors_save';

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
  pubsub_rows pg_catalog.int4;
  pubsub_jit pg_catalog.text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO "pubsub"."event" (subscription_id, op, payload, context)
    SELECT pubsub_subscription.id, 'insert', pubsub_row.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END
    FROM (SELECT CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END AS payload FROM new_rows AS new LIMIT 8) AS pubsub_row
    CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
    WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  GET DIAGNOSTICS pubsub_rows = ROW_COUNT;
  IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(1886741095, 1506062076) THEN
    size := "pubsub"."wake"('authors_save');
  END IF;
  IF pubsub_rows OPERATOR(pg_catalog.>=) 8 THEN
    pubsub_rows := (SELECT LEAST(64, 7000 OPERATOR(pg_catalog./) pg_catalog.octet_length((CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END)::pg_catalog.text)) FROM new_rows AS new OFFSET 8 LIMIT 1);
    IF pubsub_rows OPERATOR(pg_catalog.>) 1 THEN
      pubsub_jit := pg_catalog.current_setting('jit');
      PERFORM pg_catalog.set_config('jit', 'off', true);
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, packed)
        SELECT pubsub_subscription.id, 'insert', pubsub_packet.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, pubsub_packet.packed
        FROM (
          SELECT (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows AS number, pg_catalog.json_agg(pubsub_row.payload) AS payload, pg_catalog.count(*) AS packed FROM (
            SELECT CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END AS payload, pg_catalog.row_number() OVER () AS position
            FROM new_rows AS new
            OFFSET 8
          ) AS pubsub_row
          GROUP BY (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows, CASE WHEN pg_catalog.pg_column_size(pubsub_row.payload) OPERATOR(pg_catalog.>) 7000 THEN pubsub_row.position END OFFSET 0
        ) AS pubsub_packet CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast
        ORDER BY pubsub_packet.number;
      pubsub_jit := pg_catalog.set_config('jit', pubsub_jit, true);
    ELSIF pubsub_rows IS NOT NULL THEN
      INSERT INTO "pubsub"."event" (subscription_id, op, payload, context)
        SELECT pubsub_subscription.id, 'insert', pubsub_row.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END
        FROM (SELECT CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END AS payload FROM new_rows AS new OFFSET 8) AS pubsub_row
        CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
        WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
    END IF;
  END IF;
  RETURN NULL;
END
$pubsub$;

REVOKE ALL ON FUNCTION "pubsub"."authors_save_insert_a9ede22e"() FROM PUBLIC;

CREATE OR REPLACE TRIGGER "pubsub_authors_save_insert"
AFTER INSERT ON "public"."authors"
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION "pubsub"."authors_save_insert_a9ede22e"();

COMMENT ON TRIGGER "pubsub_authors_save_insert" ON "public"."authors" IS 'pubsub 7b433492 authors_save';

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
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
    SELECT pubsub_subscription.id, 'truncate', 'null'::pg_catalog.json,
      CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, NULL, NULL
    FROM "pubsub"."subscription" AS pubsub_subscription
    WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
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

COMMENT ON TRIGGER "pubsub_authors_save_truncate" ON "public"."authors" IS 'pubsub ae71f833 authors_save';

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
  pubsub_rows pg_catalog.int4;
  pubsub_jit pg_catalog.text;
BEGIN
  IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.<>) '' THEN
    IF pg_catalog.current_setting('pubsub.ignore', true) OPERATOR(pg_catalog.=) '*' OR pg_catalog.strpos(pg_catalog.current_setting('pubsub.ignore', true), ',authors_save,') OPERATOR(pg_catalog.>) 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  pubsub_rows := (SELECT LEAST(64, 3500 OPERATOR(pg_catalog./) pg_catalog.octet_length((CASE WHEN pg_catalog.pg_column_size(new.*) OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_of"(new.*) ELSE pg_catalog.row_to_json(new.*) END)::pg_catalog.text)) FROM new_rows AS new OFFSET 8 LIMIT 1);
  IF pubsub_rows OPERATOR(pg_catalog.>) 1 THEN
    pubsub_jit := pg_catalog.current_setting('jit');
    PERFORM pg_catalog.set_config('jit', 'off', true);
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, packed)
      SELECT pubsub_subscription.id, 'update', pubsub_packet.payload, CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, pubsub_packet.packed
      FROM (
        SELECT (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows AS number, pg_catalog.json_agg(pubsub_row.payload) AS payload, pg_catalog.count(*) AS packed FROM (
          SELECT CASE WHEN pg_catalog.pg_column_size("pubsub old row") OPERATOR(pg_catalog.+) pg_catalog.pg_column_size("pubsub new row") OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"("pubsub old row", "pubsub new row") ELSE pg_catalog.json_build_array("pubsub old row", "pubsub new row") END AS payload, pg_catalog.row_number() OVER () AS position
          FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
          FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
          ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
        ) AS pubsub_row
        GROUP BY (pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows, CASE WHEN pg_catalog.pg_column_size(pubsub_row.payload) OPERATOR(pg_catalog.>) 7000 THEN pubsub_row.position END OFFSET 0
      ) AS pubsub_packet CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast
      ORDER BY pubsub_packet.number;
    pubsub_jit := pg_catalog.set_config('jit', pubsub_jit, true);
  ELSE
    INSERT INTO "pubsub"."event" (subscription_id, op, payload, context, key, error)
      SELECT pubsub_subscription.id, 'update', CASE WHEN pg_catalog.pg_column_size("pubsub old row") OPERATOR(pg_catalog.+) pg_catalog.pg_column_size("pubsub new row") OPERATOR(pg_catalog.>) 262144 THEN "pubsub"."json_pair"("pubsub old row", "pubsub new row") ELSE pg_catalog.json_build_array("pubsub old row", "pubsub new row") END,
        CASE WHEN pg_catalog.current_setting('pubsub.context', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('pubsub.context', true) END, NULL, NULL
      FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", pg_catalog.row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old
      FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", pg_catalog.row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new
      ON "pubsub old position" OPERATOR(pg_catalog.=) "pubsub new position"
      CROSS JOIN "pubsub"."subscription" AS pubsub_subscription
      WHERE pubsub_subscription.channel OPERATOR(pg_catalog.=) 'authors_save' AND NOT pubsub_subscription.broadcast;
  END IF;
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

COMMENT ON TRIGGER "pubsub_authors_save_update" ON "public"."authors" IS 'pubsub 61edf458 authors_save';

