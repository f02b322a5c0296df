package tests

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// logEntry has columns that print differently with a session's settings.
type logEntry struct {
	ID      int64
	Label   string
	Exact   float64 `gorm:"type:float8"`
	Inexact float32 `gorm:"type:float4"`
	Bytes   []byte
	At      time.Time
	Day     time.Time `gorm:"type:date"`
	Naive   time.Time `gorm:"type:timestamp"`
	Maybe   *string
}

// change is an event on a log entry.
type change struct {
	op       triggers.Op
	old, new *logEntry
}

func (c change) label() string {
	if c.new != nil {
		return c.op.String() + " " + c.new.Label
	}
	return c.op.String() + " " + c.old.Label
}

func changeInbox(r *listener.Registry, opts ...hooks.Option) inbox[change] {
	in := newInbox[change]()
	hooks.On(&logEntry{}, triggers.Insert|triggers.Update|triggers.Delete,
		func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[logEntry]) error {
			in <- change{p.Op, p.Old, p.New}
			return nil
		}, append([]hooks.Option{hooks.Broadcast(), hooks.In(r), hooks.Name("changes")}, opts...)...)
	return in
}

// writerSession opens a session of the writer's own and runs the statements.
func writerSession(t *testing.T, db *gorm.DB, statements ...string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsnOf(t, db))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	write(t, conn, statements...)
	return conn
}

// write runs statements as they are, without preparing them.
func write(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := conn.PgConn().Exec(t.Context(), s).ReadAll()
		require.NoError(t, err, s)
	}
}

func TestRollbackSendsNothing(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := changeInbox(r)
	db, _ := taped(t, r, []any{&logEntry{}})
	pubsubtest.Listen(t, db)
	undo := errors.New("undo")
	add := func(tx *gorm.DB, label string) {
		require.NoError(t, tx.Create(&logEntry{Label: label}).Error)
	}
	require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error {
		add(tx, "rolled back")
		require.NoError(t, tx.Exec("UPDATE log_entries SET label = 'rolled back, too'").Error)
		require.NoError(t, tx.Exec("DELETE FROM log_entries").Error)
		return undo
	}), undo)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		add(tx, "outer")
		require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error { add(tx, "rolled back to a savepoint"); return undo }), undo)
		require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { add(tx, "inner"); return nil }))
		tx.SavePoint("s")
		add(tx, "rolled back to s")
		tx.RollbackTo("s")
		add(tx, "last of this transaction")
		require.Never(t, func() bool { return len(in) > 0 }, 50*time.Millisecond, 5*time.Millisecond, "before the commit")
		return nil
	}))
	add(db, "after")
	var got []string
	for _, c := range in.take(t, 4) {
		got = append(got, c.label())
	}
	require.Equal(t, []string{"insert outer", "insert inner", "insert last of this transaction", "insert after"}, got)
	require.Empty(t, in)
}

func TestWriterWithoutRights(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := changeInbox(r, hooks.Columns("label"), hooks.When("COALESCE(NEW.label, OLD.label) <> 'no'"))
	db, _ := taped(t, r, []any{&logEntry{}})
	pubsubtest.Listen(t, db)
	var role string
	require.NoError(t, db.Raw("SELECT 'writer_of_' || current_database()").Scan(&role).Error)
	for _, s := range []string{
		"CREATE ROLE " + role + " LOGIN",
		"GRANT INSERT, UPDATE, DELETE, SELECT ON log_entries TO " + role,
		"GRANT USAGE ON SEQUENCE log_entries_id_seq TO " + role,
		"REVOKE ALL ON SCHEMA pubsub FROM PUBLIC",
		"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pubsub FROM PUBLIC",
	} {
		require.NoError(t, db.Exec(s).Error, s)
	}
	t.Cleanup(func() { require.NoError(t, db.Exec("DROP OWNED BY "+role+"; DROP ROLE "+role).Error) })
	conn := writerSession(t, db, "SET SESSION AUTHORIZATION "+role)
	_, err := conn.Exec(t.Context(), "SELECT * FROM pubsub.payload")
	require.ErrorContains(t, err, "permission denied")

	write(t, conn, "INSERT INTO log_entries (label) VALUES ('small'), (repeat('large', 5000)), ('no')",
		"UPDATE log_entries SET label = 'changed' WHERE label = 'small'", "DELETE FROM log_entries")
	require.Equal(t, "insert small", in.next(t).label())
	require.Len(t, in.next(t).new.Label, 25_000)
	require.Equal(t, "update changed", in.next(t).label())
	in.take(t, 2)
	require.NoError(t, db.Create(&logEntry{Label: "end"}).Error)
	require.Equal(t, "insert end", in.next(t).label())
}

func TestHostileSettings(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"DateStyle":          {"SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Kathmandu'", "SET IntervalStyle = 'iso_8601'"},
		"German":             {"SET DateStyle = 'German'", "SET TimeZone = 'America/St_Johns'"},
		"Output":             {"SET bytea_output = 'escape'", "SET extra_float_digits = -15"},
		"SearchPath":         {"SET search_path = ''"},
		"ShadowedCatalog":    {"CREATE SCHEMA evil", "CREATE FUNCTION evil.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0'", "CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT 1/0'", "SET search_path = evil, pg_catalog, public"},
		"Strings":            {"SET standard_conforming_strings = off", "SET backslash_quote = off", "SET escape_string_warning = on"},
		"Planner":            {"SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET enable_sort = off", "SET plan_cache_mode = force_generic_plan", "SET jit = on", "SET jit_above_cost = 0"},
		"Plpgsql":            {"LOAD 'plpgsql'", "SET plpgsql.extra_errors = 'all'", "SET plpgsql.variable_conflict = 'error'", "SET check_function_bodies = off"},
		"Nulls":              {"SET transform_null_equals = on", "SET array_nulls = off", "SET quote_all_identifiers = on"},
		"Encoding":           {"SET client_encoding = 'LATIN1'", "SET lc_messages = 'C'", "SET client_min_messages = debug5"},
		"RowSecurity":        {"SET row_security = off", "SET work_mem = '64kB'", "SET default_transaction_isolation = 'serializable'"},
		"TemporaryLookalike": {"CREATE TEMP TABLE old_rows (x int)", "CREATE TEMP TABLE new_rows (x int)", "CREATE TEMP TABLE payload (x int)", "CREATE TEMP TABLE pg_class (x int)", "SET search_path = pg_temp, public"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := changeInbox(r, hooks.When(`COALESCE(NEW.label, OLD.label) <> 'back\slash' AND (NEW.maybe = NULL) IS NOT TRUE
				AND (NEW.label <> 'one' OR NEW.at::text = '2024-02-03 04:05:06.123456+00') IS NOT FALSE`))
			db, _ := taped(t, r, []any{&logEntry{}})
			pubsubtest.Listen(t, db)
			conn := writerSession(t, db, settings...)
			const columns = "INSERT INTO public.log_entries (id, label, exact, inexact, bytes, at, day, naive, maybe) VALUES "
			write(t, conn,
				columns+`(1, 'one', 0.1::float8 + 0.2, 3.1415927::float4, pg_catalog.decode('00ff5c27', 'hex'), '2024-02-03T04:05:06.123456+00', '2024-02-03', '2024-02-03T04:05:06.5', 'x')`,
				columns+`(2, pg_catalog.concat('back', pg_catalog.chr(92), 'slash'), 0, 0, '', now(), now(), now(), 'x')`,
				columns+`(3, pg_catalog.concat('quote '' ', pg_catalog.chr(92), 'n'), 1e300, 1e-30, NULL, '1999-12-31T23:59:59Z', '1999-12-31', '1999-12-31', NULL)`,
				"UPDATE public.log_entries SET exact = exact + 1 WHERE id = 1")
			want := func(id int64) *logEntry {
				var e logEntry
				require.NoError(t, db.First(&e, id).Error)
				return &e
			}
			three, last := want(3), want(1)
			inserted, other, updated := in.next(t), in.next(t), in.next(t)
			first := *last
			x, y := 0.1, 0.2
			first.Exact = x + y
			require.Equal(t, change{triggers.Insert, nil, &first}, inserted)
			require.Equal(t, change{triggers.Insert, nil, three}, other)
			require.Equal(t, change{triggers.Update, &first, last}, updated)
			write(t, conn, "DELETE FROM public.log_entries WHERE id IN (2, 3)")
			require.Equal(t, change{triggers.Delete, three, nil}, in.next(t))
			require.Zero(t, counters(t, db, "changes").Lost)
		})
	}
}
