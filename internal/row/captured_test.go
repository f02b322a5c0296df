package row_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// hostile are settings of the writer's session that change what Postgres
// prints, but for the trigger's pins.
const hostile = `SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard';
SET bytea_output = 'escape'; SET extra_float_digits = -15; SET xmlbinary = 'hex'; SET lc_monetary = 'C'`

// capture is what the product's trigger does, with its pins.
const capture = `
CREATE TABLE captured (tbl text, id int8, payload json);
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp SET bytea_output = 'hex' SET extra_float_digits = 1 SET TimeZone = 'UTC'
	SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
AS $$ BEGIN
	INSERT INTO public.captured SELECT TG_TABLE_NAME, n.row_id, row_to_json(n) FROM new_rows n;
	RETURN NULL;
END $$`

// bench is a database with a table for each case and what its trigger captured.
type bench struct {
	url      string
	db       *sql.DB
	cases    []columnCase
	tables   map[string]string   // by case
	payloads map[string][]string // by case, in the order of writing
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx := t.Context()
	b := &bench{url: newDatabase(t), tables: map[string]string{}, payloads: map[string][]string{}}
	b.db = open(t, b.url)
	missing := b.extensions(t)
	var version int
	require.NoError(t, b.db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int / 10000`).Scan(&version))
	// A connection of its own: its settings must not reach a reader by the pool.
	writer := open(t, b.url)
	conn, err := writer.Conn(ctx)
	require.NoError(t, err)
	defer conn.Close()
	for _, statement := range []string{prelude, capture, hostile} {
		_, err := conn.ExecContext(ctx, statement)
		require.NoError(t, err)
	}
	for i, c := range columnCases {
		if missing[c.extension] {
			continue
		}
		if c.since > version {
			t.Logf("NOT COVERED: %s needs Postgres %d", c.name, c.since)
			continue
		}
		b.cases = append(b.cases, c)
		b.tables[c.name] = fmt.Sprintf("case_%d", i)
		b.write(t, conn, c)
	}
	b.read(t)
	return b
}

func (b *bench) extensions(t *testing.T) (missing map[string]bool) {
	t.Helper()
	missing = map[string]bool{}
	for _, c := range columnCases {
		if c.extension == "" || missing[c.extension] {
			continue
		}
		_, err := b.db.ExecContext(t.Context(), "CREATE EXTENSION IF NOT EXISTS "+c.extension)
		if err != nil {
			missing[c.extension] = true
			t.Logf("NOT COVERED: no extension %s: %v", c.extension, err)
		}
	}
	return missing
}

func (b *bench) write(t *testing.T, conn *sql.Conn, c columnCase) {
	t.Helper()
	table, column := b.tables[c.name], pgx.Identifier{c.name}.Sanitize()
	var statements strings.Builder
	fmt.Fprintf(&statements, "CREATE TABLE %s (row_id serial PRIMARY KEY, %s %s);", table, column, c.sql)
	fmt.Fprintf(&statements, "CREATE TRIGGER capture AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows EXECUTE FUNCTION capture();", table)
	values := c.values
	if !c.notNull {
		values = append(slices.Clone(values), "NULL")
	}
	for _, v := range values {
		fmt.Fprintf(&statements, "INSERT INTO %s (%s) VALUES (%s);", table, column, v)
	}
	_, err := conn.ExecContext(t.Context(), statements.String())
	require.NoError(t, err, "%s", statements.String())
}

func (b *bench) read(t *testing.T) {
	t.Helper()
	byTable := map[string]string{}
	for name, table := range b.tables {
		byTable[table] = name
	}
	rows, err := b.db.QueryContext(t.Context(), `SELECT tbl, payload::text FROM captured ORDER BY tbl, id`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var table, payload string
		require.NoError(t, rows.Scan(&table, &payload))
		b.payloads[byTable[table]] = append(b.payloads[byTable[table]], payload)
	}
	require.NoError(t, rows.Err())
}
