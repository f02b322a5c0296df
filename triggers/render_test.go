package triggers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/triggers"
)

func TestRenderGolden(t *testing.T) {
	t.Parallel()
	const authors = `CREATE TABLE authors (id bigint PRIMARY KEY, name text, score int, extra json, place point)`
	for name, c := range map[string]struct {
		tables []string
		def    triggers.Definition
	}{
		"insert":   {[]string{authors}, triggers.Definition{Channel: "authors_insert", Table: `"authors"`, Ops: triggers.Insert}},
		"update":   {[]string{authors}, triggers.Definition{Channel: "authors_update", Table: `"authors"`, Ops: triggers.Update}},
		"delete":   {[]string{authors}, triggers.Definition{Channel: "authors_delete", Table: `"authors"`, Ops: triggers.Delete}},
		"truncate": {[]string{authors}, triggers.Definition{Channel: "authors_truncate", Table: `"authors"`, Ops: triggers.Truncate}},
		"columns": {[]string{authors}, triggers.Definition{
			Channel: "authors_update", Table: `"authors"`, Ops: triggers.Update, Columns: []string{"name", "extra", "place"},
		}},
		"condition": {[]string{authors}, triggers.Definition{
			Channel: "authors_save", Table: `"authors"`, Ops: triggers.Insert | triggers.Update, When: `NEW.score > 10 -- '$pubsub$' \`,
		}},
		"durable": {[]string{authors}, triggers.Definition{
			Channel: "authors_save", Table: `"authors"`, Ops: triggers.Insert | triggers.Update | triggers.Delete | triggers.Truncate,
			Durable: true,
		}},
		"durable_ordered": {[]string{authors}, triggers.Definition{
			Channel: "authors_save", Table: `"authors"`, Ops: triggers.Insert | triggers.Update | triggers.Delete | triggers.Truncate,
			Durable: true, Ordered: true, Key: []string{"id"},
		}},
		"durable_condition": {[]string{authors}, triggers.Definition{
			Channel: "authors_save", Table: `"authors"`, Ops: triggers.Insert | triggers.Update, Durable: true, Broadcast: true,
			Columns: []string{"name"}, When: "NEW.score > 10", Ordered: true, Key: []string{"id", "name"},
		}},
		"durable_partitioned": {
			[]string{`CREATE TABLE events (id bigint, at date) PARTITION BY RANGE (at)`},
			triggers.Definition{Channel: "events", Table: `"events"`, Ops: triggers.Update | triggers.Delete, Durable: true, Ordered: true, Key: []string{"id"}},
		},
		"partitioned": {
			[]string{`CREATE TABLE events (id bigint, at date) PARTITION BY RANGE (at)`},
			triggers.Definition{Channel: "events", Table: `"events"`, Ops: triggers.Insert | triggers.Update, When: "NEW.id > 0"},
		},
		"oddly_named": {
			[]string{`CREATE SCHEMA "Sales Dept"`, `CREATE TABLE "Sales Dept"."Order ""Items'" ("Id" bigint PRIMARY KEY, "old" text, "new" text, "näme%" text)`},
			triggers.Definition{
				Channel: `Ord"er's %items\`, Table: `"Sales Dept"."Order ""Items'"`, Ops: triggers.Update, Columns: []string{"näme%"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, c.tables...)
			in := triggers.Installer{}
			require.NoError(t, in.Migrate(t.Context(), db))
			script, err := in.SQL(t.Context(), db, []triggers.Definition{c.def})
			require.NoError(t, err)
			golden := filepath.Join("testdata", name+".golden.sql")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(script), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), script)

			// The text does what Apply does.
			for _, statement := range regexp.MustCompile(`;\n\n`).Split(strings.TrimSpace(script), -1) {
				require.NoError(t, db.Exec(strings.TrimSuffix(statement, ";")).Error, statement)
			}
			require.NoError(t, in.Verify(t.Context(), db, []triggers.Definition{c.def}))
		})
	}
}

func TestSQLBuildsEverythingFromNothing(t *testing.T) {
	t.Parallel()
	db := openDB(t, `CREATE TABLE authors (id bigint PRIMARY KEY)`)
	in := triggers.Installer{Schema: `a "schema"`}
	defs := []triggers.Definition{{Channel: "authors", Table: "authors", Ops: triggers.Insert}}
	script, err := in.SQL(t.Context(), db, defs)
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	_, err = pool.ExecContext(t.Context(), script)
	require.NoError(t, err)
	require.NoError(t, in.Verify(t.Context(), db, defs))
	script, err = in.SQL(t.Context(), db, defs)
	require.NoError(t, err)
	require.Empty(t, script)
}

func TestFit(t *testing.T) {
	t.Parallel()
	exact := strings.Repeat("x", 63)
	require.Equal(t, exact, triggers.Fit(exact))
	long := triggers.Fit(strings.Repeat("é", 40))
	require.LessOrEqual(t, len(long), 63)
	require.True(t, strings.HasPrefix(long, "ééé"))
	require.Regexp(t, `é_[0-9a-f]{8}$`, long)
	require.NotEqual(t, long, triggers.Fit(strings.Repeat("é", 41)))
}

func TestOp(t *testing.T) {
	t.Parallel()
	require.Equal(t, "insert|delete", (triggers.Insert | triggers.Delete).String())
	require.Equal(t, "none", triggers.Op(0).String())
	for _, op := range (triggers.Insert | triggers.Update | triggers.Delete | triggers.Truncate).Split() {
		parsed, ok := triggers.ParseOp(op.String())
		require.True(t, ok)
		require.Equal(t, op, parsed)
	}
	_, ok := triggers.ParseOp("insert|delete")
	require.False(t, ok)
}
