package triggers_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/triggers"
)

const authors = `CREATE TABLE authors (id bigint PRIMARY KEY, name text, score int)`

// function is what the trigger for updates calls: each table has its own.
var function = "pubsub.authors_save_update_" + triggers.Digest(`"public"."authors"`) + "()"

func saveAuthors() []triggers.Definition {
	return []triggers.Definition{{Channel: "authors_save", Table: `"authors"`, Ops: triggers.Insert | triggers.Update, Site: "app/hooks.go:7"}}
}

// versions identifies what is installed: every change of an object changes it.
func versions(t *testing.T, db *gorm.DB) string {
	t.Helper()
	return scalar[string](t, db, `SELECT string_agg(v, ' ' ORDER BY v) FROM (
		SELECT 't' || oid || '/' || xmin || '/' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT 'p' || p.oid || '/' || p.xmin FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'pubsub'
		UNION ALL SELECT 'd' || objoid || '/' || xmin FROM pg_description WHERE classoid = 'pg_trigger'::regclass
	) AS all_versions(v)`)
}

func TestApplyIsIdempotent(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	plan, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.Len(t, plan.Todo(), 2)
	before := versions(t, db)

	require.NoError(t, in.Migrate(t.Context(), db))
	plan, err = in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.Empty(t, plan.Todo())
	require.Equal(t, before, versions(t, db))
	require.NoError(t, in.Verify(t.Context(), db, saveAuthors()))
}

func TestDrift(t *testing.T) {
	t.Parallel()
	const trigger = `"pubsub_authors_save_update"`
	for name, c := range map[string]struct {
		change string
		state  triggers.State
		reason string
	}{
		"DroppedTrigger":  {`DROP TRIGGER ` + trigger + ` ON authors`, triggers.Missing, ""},
		"DroppedFunction": {`DROP FUNCTION ` + function + ` CASCADE`, triggers.Missing, ""},
		"OtherBody": {
			`CREATE OR REPLACE FUNCTION ` + function + ` RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			triggers.Outdated, "body",
		},
		"OtherRights":       {`ALTER FUNCTION ` + function + ` SECURITY INVOKER`, triggers.Outdated, "rights"},
		"PublicRights":      {`GRANT EXECUTE ON FUNCTION ` + function + ` TO PUBLIC`, triggers.Outdated, "rights"},
		"OtherSettings":     {`ALTER FUNCTION ` + function + ` SET bytea_output = 'escape'`, triggers.Outdated, "settings"},
		"MissingSettings":   {`ALTER FUNCTION ` + function + ` RESET ALL`, triggers.Outdated, "settings"},
		"OtherComment":      {`COMMENT ON TRIGGER ` + trigger + ` ON authors IS 'pubsub 00000000'`, triggers.Outdated, "comment"},
		"NoComment":         {`COMMENT ON TRIGGER ` + trigger + ` ON authors IS NULL`, triggers.Outdated, "comment"},
		"OtherTime":         {replace(trigger, `AFTER DELETE ON authors REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT`), triggers.Outdated, "times"},
		"OtherLevel":        {replace(trigger, `AFTER UPDATE ON authors FOR EACH ROW`), triggers.Outdated, "times"},
		"OtherTransition":   {replace(trigger, `AFTER UPDATE ON authors REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT`), triggers.Outdated, "transition"},
		"ColumnsOfTheirOwn": {replace(trigger, `AFTER UPDATE OF name ON authors FOR EACH STATEMENT`), triggers.Outdated, ""},
		"Disabled":          {`ALTER TABLE authors DISABLE TRIGGER ` + trigger, triggers.Disabled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, authors)
			in := triggers.Installer{}
			require.NoError(t, in.Migrate(t.Context(), db))
			_, err := in.Apply(t.Context(), db, saveAuthors())
			require.NoError(t, err)
			require.NoError(t, db.Exec(c.change).Error)

			err = in.Verify(t.Context(), db, saveAuthors())
			require.ErrorIs(t, err, triggers.ErrDrift)
			require.ErrorContains(t, err, string(c.state))
			require.ErrorContains(t, err, c.reason)
			require.ErrorContains(t, err, "authors_save")

			_, err = in.Apply(t.Context(), db, saveAuthors())
			require.NoError(t, err)
			err = in.Verify(t.Context(), db, saveAuthors())
			if c.state == triggers.Disabled {
				require.ErrorContains(t, err, "disabled", "Apply must leave alone what somebody switched off")
				return
			}
			require.NoError(t, err)
		})
	}
}

func replace(trigger, times string) string {
	return `CREATE OR REPLACE TRIGGER ` + trigger + ` ` + times + ` EXECUTE FUNCTION ` + function
}

func TestDisabledStaysDisabledWhenReplaced(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.NoError(t, in.Disable(t.Context(), db, saveAuthors(), "authors_save"))
	changed := saveAuthors()
	changed[0].When = "NEW.score > 1"
	_, err = in.Apply(t.Context(), db, changed)
	require.NoError(t, err)
	require.Equal(t, int64(2), scalar[int64](t, db, `SELECT count(*) FROM pg_trigger WHERE tgenabled = 'D'`))
	require.NoError(t, in.Enable(t.Context(), db, changed, "authors_save"))
	require.NoError(t, in.Verify(t.Context(), db, changed))
	require.ErrorIs(t, in.Enable(t.Context(), db, changed, "nope"), triggers.ErrUnknownChannel)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in, other := triggers.Installer{}, triggers.Installer{Schema: "other"}
	defs := append(saveAuthors(), triggers.Definition{Channel: "authors_delete", Table: "authors", Ops: triggers.Delete})
	for _, installer := range []triggers.Installer{in, other} {
		require.NoError(t, installer.Migrate(t.Context(), db))
		_, err := installer.Apply(t.Context(), db, defs)
		require.NoError(t, err)
	}
	dropped, err := in.Prune(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.Len(t, dropped, 1)
	require.Equal(t, "pubsub_authors_delete_delete", dropped[0].Trigger)
	require.Equal(t, int64(2), scalar[int64](t, db, `SELECT count(*) FROM pg_proc WHERE pronamespace = 'pubsub'::regnamespace AND prorettype = 'trigger'::regtype`))
	require.NoError(t, in.Verify(t.Context(), db, saveAuthors()))
	require.NoError(t, other.Verify(t.Context(), db, defs), "another schema's triggers are not ours")
}

func TestPruneLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors,
		`CREATE SCHEMA pubsub`,
		`CREATE FUNCTION pubsub.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER audit AFTER INSERT ON authors EXECUTE FUNCTION pubsub.audit()`,
		`CREATE FUNCTION pubsub.unused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	dropped, err := in.Prune(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.Empty(t, dropped)
	count := `SELECT count(*) FROM pg_proc WHERE pronamespace = 'pubsub'::regnamespace AND prorettype = 'trigger'::regtype`
	require.Equal(t, int64(4), scalar[int64](t, db, count))

	require.NoError(t, db.Exec(`DROP TABLE authors`).Error)
	_, err = in.Prune(t.Context(), db, nil)
	require.NoError(t, err)
	require.Equal(t, int64(2), scalar[int64](t, db, count), "what a dropped table leaves is dropped")
}

func TestChannelThatMovedToAnotherTable(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors, `CREATE TABLE writers (id bigint)`)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	moved := saveAuthors()
	moved[0].Table = "writers"
	_, err = in.Apply(t.Context(), db, moved)
	require.NoError(t, err)
	require.ErrorContains(t, in.Verify(t.Context(), db, moved), `orphaned: trigger "pubsub_authors_save_insert" on "public"."authors" for channel "authors_save"`)
	dropped, err := in.Prune(t.Context(), db, moved)
	require.NoError(t, err)
	require.Len(t, dropped, 2)
	require.NoError(t, in.Verify(t.Context(), db, moved))
}

// A dump of the schema alone has our tables and functions, but not the record
// of the migrations.
func TestMigrateAfterASchemaOnlyRestore(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	require.NoError(t, db.Exec(`DELETE FROM pubsub.migration`).Error)
	require.ErrorIs(t, in.Verify(t.Context(), db, saveAuthors()), triggers.ErrNotMigrated)
	require.NoError(t, in.Migrate(t.Context(), db))
	require.NoError(t, in.Verify(t.Context(), db, saveAuthors()))
}

// Whoever may use our schema must not reach the rights of its owner through
// our functions.
func TestFunctionsCannotBeBorrowed(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
	role := "lowly_" + triggers.Digest(t.Name()+db.Migrator().CurrentDatabase())
	require.NoError(t, db.Exec(`CREATE ROLE `+role).Error)
	t.Cleanup(func() { db.Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role) })
	require.NoError(t, db.Exec(`GRANT USAGE ON SCHEMA pubsub TO `+role).Error)
	err = db.Connection(func(tx *gorm.DB) error {
		defer tx.Exec(`RESET ROLE`)
		for _, s := range []string{`SET ROLE ` + role, `CREATE TEMP TABLE mine (id bigint)`} {
			require.NoError(t, tx.Exec(s).Error)
		}
		require.Error(t, tx.Exec(`SELECT pubsub.send('authors_save', '')`).Error)
		return tx.Exec(`CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION ` + function).Error
	})
	require.ErrorContains(t, err, "permission denied for function")
}

func TestFortyProcessesInstallAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	url, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop(context.WithoutCancel(ctx))) })
	db := connectTo(t, url, authors)

	program, err := os.Executable()
	require.NoError(t, err)
	var processes []*exec.Cmd
	for range 40 {
		c := exec.CommandContext(ctx, program)
		c.Env = append(os.Environ(), "PUBSUB_MIGRATE_URL="+url)
		c.Stderr = &strings.Builder{}
		require.NoError(t, c.Start())
		processes = append(processes, c)
	}
	for _, c := range processes {
		require.NoError(t, c.Wait(), "%s", c.Stderr)
	}
	require.NoError(t, triggers.Installer{}.Verify(ctx, db, saveAuthors()))
}

// migrateAsProcess is what the processes of TestFortyProcessesInstallAtOnce do.
func migrateAsProcess() {
	url := os.Getenv("PUBSUB_MIGRATE_URL")
	if url == "" {
		return
	}
	err := func() error {
		db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard})
		if err != nil {
			return err
		}
		in := triggers.Installer{}
		if err := in.Migrate(context.Background(), db); err != nil {
			return err
		}
		_, err = in.Apply(context.Background(), db, saveAuthors())
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestLockedTableIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors)
	in := triggers.Installer{LockTimeout: 10 * time.Millisecond}
	require.NoError(t, in.Migrate(t.Context(), db))
	tx := db.Begin()
	require.NoError(t, tx.Exec(`INSERT INTO authors VALUES (1)`).Error)
	_, err := in.Apply(t.Context(), db, saveAuthors())
	require.ErrorContains(t, err, "locked by other transactions")
	require.ErrorContains(t, err, `"authors"`)
	require.NoError(t, tx.Commit().Error)
	_, err = in.Apply(t.Context(), db, saveAuthors())
	require.NoError(t, err)
}

func TestApplyInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	in := triggers.Installer{}
	tx := db.Begin()
	require.NoError(t, tx.Exec(`SET LOCAL lock_timeout = '1234ms'`).Error)
	require.NoError(t, tx.Exec(authors).Error)
	require.NoError(t, in.Migrate(t.Context(), tx))
	defs := saveAuthors()
	defs[0].When = "NEW.score > 1"
	_, err := in.Apply(t.Context(), tx, defs)
	require.NoError(t, err)
	require.NoError(t, in.Verify(t.Context(), tx, defs))
	require.Equal(t, "1234ms", scalar[string](t, tx, `SHOW lock_timeout`))
	require.Contains(t, scalar[string](t, tx, `SHOW search_path`), "public")
	require.NoError(t, tx.Rollback().Error)
	require.Equal(t, int64(0), scalar[int64](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname = 'pubsub'`))
}

func TestBadDefinitions(t *testing.T) {
	t.Parallel()
	db := openDB(t, authors, `CREATE VIEW famous AS SELECT * FROM authors WHERE score > 10`)
	in := triggers.Installer{}
	require.NoError(t, in.Migrate(t.Context(), db))
	def := func(change func(*triggers.Definition)) []triggers.Definition {
		defs := saveAuthors()
		change(&defs[0])
		return defs
	}
	for name, c := range map[string]struct {
		defs []triggers.Definition
		want []string
	}{
		"NoTable":         {def(func(d *triggers.Definition) { d.Table = `"nobody"` }), []string{`"nobody"`, "app/hooks.go:7", "does not exist"}},
		"View":            {def(func(d *triggers.Definition) { d.Table = "famous" }), []string{"is a view", "app/hooks.go:7"}},
		"NoColumn":        {def(func(d *triggers.Definition) { d.Columns = []string{"nme"} }), []string{`no column "nme"`, "app/hooks.go:7"}},
		"ZeroByte":        {def(func(d *triggers.Definition) { d.Channel = "a\x00b" }), []string{"zero byte", "app/hooks.go:7"}},
		"LongChannel":     {def(func(d *triggers.Definition) { d.Channel = strings.Repeat("x", 64) }), []string{"64 bytes", "app/hooks.go:7"}},
		"ConditionColumn": {def(func(d *triggers.Definition) { d.When = "NEW.nme = 'x'" }), []string{"nme does not exist", "authors_save", "app/hooks.go:7"}},
		"ConditionSyntax": {def(func(d *triggers.Definition) { d.When = "NEW.name = " }), []string{"condition", "app/hooks.go:7"}},
		"ConditionType":   {def(func(d *triggers.Definition) { d.When = "NEW.name" }), []string{"must be type boolean", "app/hooks.go:7"}},
		"ConditionName":   {def(func(d *triggers.Definition) { d.When = "public_function(NEW.name)" }), []string{"pg_catalog", "app/hooks.go:7"}},
		"TwoMeanings": {
			append(saveAuthors(), triggers.Definition{Channel: "authors_save", Table: "authors", Ops: triggers.Delete, Site: "app/other.go:9"}),
			[]string{"app/hooks.go:7", "app/other.go:9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := in.Apply(t.Context(), db, c.defs)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, int64(0), scalar[int64](t, db, `SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal`))
		})
	}
}
