package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// MigParent brings its children, its tags and a join table along.
type MigParent struct {
	ID       int64
	Name     string
	Children []MigChild
	Tags     []MigTag `gorm:"many2many:mig_parent_tags"`
}

type MigChild struct {
	ID          int64
	MigParentID int64
	Name        string
}

type MigTag struct {
	ID   int64
	Name string
}

// MigParentTag is the join table as a model.
type MigParentTag struct {
	MigParentID int64 `gorm:"primaryKey"`
	MigTagID    int64 `gorm:"primaryKey"`
}

// MigOther has nothing to do with the others.
type MigOther struct {
	ID   int64
	Name string
}

// MigOtherToo is another model of the same table.
type MigOtherToo struct {
	ID   int64
	Name string
}

func (MigOtherToo) TableName() string { return "mig_others" }

func migModels() []any { return []any{&MigParent{}, &MigChild{}, &MigTag{}, &MigOther{}} }

func migDeclareAll() *listener.Registry {
	r := hooks.NewRegistry()
	in, cast := hooks.In(r), hooks.Broadcast()
	hooks.OnInsert(&MigParent{}, plugIgnore[MigParent], in, cast)
	hooks.OnInsert(&MigChild{}, plugIgnore[MigChild], in, cast)
	hooks.OnInsert(&MigTag{}, plugIgnore[MigTag], in, cast)
	hooks.OnInsert(&MigParentTag{}, plugIgnore[MigParentTag], in, cast)
	hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], in, cast)
	return r
}

// migTriggered returns the tables that have triggers of ours, with their number.
func migTriggered(t *testing.T, db *gorm.DB) string {
	t.Helper()
	return plugQuery[string](t, db, `SELECT COALESCE(string_agg(line, ' ' ORDER BY line), '') FROM (
		SELECT tgrelid::regclass || ':' || count(*) AS line FROM pg_trigger WHERE NOT tgisinternal GROUP BY tgrelid) AS t`)
}

// migFingerprint identifies every object's version: any DDL changes it.
func migFingerprint(t *testing.T, db *gorm.DB) string {
	t.Helper()
	return plugQuery[string](t, db, `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT 'trigger ' || oid || ' ' || xmin || ' ' || tgname || tgenabled::text AS line FROM pg_trigger
		UNION ALL SELECT 'function ' || oid || ' ' || xmin || ' ' || proname FROM pg_proc WHERE oid >= 16384
		UNION ALL SELECT 'class ' || oid || ' ' || relname || ' ' || relkind::text FROM pg_class WHERE oid >= 16384
		UNION ALL SELECT 'attribute ' || attrelid || ' ' || xmin || ' ' || attname FROM pg_attribute WHERE attrelid >= 16384
		UNION ALL SELECT 'comment ' || objoid || ' ' || xmin || ' ' || description FROM pg_description WHERE objoid >= 16384
		UNION ALL SELECT 'schema ' || oid || ' ' || xmin || ' ' || nspname FROM pg_namespace
		UNION ALL SELECT 'migration' || xmin FROM pg_class WHERE relname = 'migration') AS all_lines`)
}

var migDDL = regexp.MustCompile(`(?i)\b(CREATE|ALTER|DROP|COMMENT|GRANT|LOCK TABLE|INSERT|UPDATE|DELETE)\b`)

func TestAutoMigrateInstallsWhatItMigrates(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T) (*gorm.DB, *pubsub.Plugin) {
		t.Helper()
		db, p := plugUse(t, plugURL(t), migDeclareAll())
		plugExec(t, db, "CREATE TABLE mig_others (id bigserial PRIMARY KEY, name text)")
		return db, p
	}
	t.Run("WithAssociations", func(t *testing.T) {
		t.Parallel()
		db, p := open(t)
		require.NoError(t, db.AutoMigrate(&MigParent{})) // GORM adds the tags and the join table, and no children
		require.False(t, db.Migrator().HasTable(&MigChild{}))
		require.Equal(t, "mig_parent_tags:1 mig_parents:1 mig_tags:1", migTriggered(t, db))
		require.NoError(t, db.AutoMigrate(&MigChild{}))
		require.Equal(t, "mig_children:1 mig_parent_tags:1 mig_parents:1 mig_tags:1", migTriggered(t, db))
		err := p.Verify(t.Context())
		require.ErrorIs(t, err, triggers.ErrDrift)
		require.ErrorContains(t, err, "mig_others")
		require.NoError(t, p.Migrate(t.Context()))
		require.NoError(t, p.Verify(t.Context()))
	})
	t.Run("TablesAreThere", func(t *testing.T) {
		t.Parallel()
		url := plugURL(t)
		require.NoError(t, plugOpen(t, postgres.Open(url), nil).AutoMigrate(migModels()...))
		db, _ := plugUse(t, url, migDeclareAll())
		require.NoError(t, db.AutoMigrate(&MigParent{}))
		require.Equal(t, "mig_parent_tags:1 mig_parents:1 mig_tags:1", migTriggered(t, db))
	})
	t.Run("OneOfSeveral", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t)
		require.NoError(t, db.AutoMigrate(&MigTag{}))
		require.Equal(t, "mig_tags:1", migTriggered(t, db))
		require.NoError(t, db.AutoMigrate(&MigChild{}, &MigOther{})) // GORM adds the parent that the child refers to
		require.True(t, db.Migrator().HasTable(&MigParent{}))
		require.Equal(t, "mig_children:1 mig_others:1 mig_parents:1 mig_tags:1", migTriggered(t, db))
	})
	t.Run("NothingDeclared", func(t *testing.T) {
		t.Parallel()
		db, _ := plugUse(t, plugURL(t), hooks.NewRegistry())
		require.NoError(t, db.AutoMigrate(&MigParent{}))
		require.Empty(t, migTriggered(t, db))
		require.Zero(t, plugQuery[int](t, db, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pubsub'"))
	})
	t.Run("OnlyATypedChannel", func(t *testing.T) {
		t.Parallel()
		r, got := hooks.NewRegistry(), make(chan int, 1)
		typed := listener.NewChannel[int]("typed", listener.In(r), listener.Broadcast())
		db, p := plugUse(t, plugURL(t), r)
		require.ErrorIs(t, typed.Notify(t.Context(), db, 1), triggers.ErrNotMigrated)
		require.NoError(t, db.AutoMigrate(&MigOther{}))
		require.Empty(t, migTriggered(t, db))
		require.NoError(t, p.Verify(t.Context()))
		typed.Listen(func(_ context.Context, _ *gorm.DB, v int) error { got <- v; return nil })
		pubsubtest.Listen(t, db)
		require.NoError(t, typed.Notify(t.Context(), db, 2))
		require.Equal(t, 2, plugNext(t, got))
	})
	t.Run("CreateTable", func(t *testing.T) {
		t.Parallel()
		db, p := plugUse(t, plugURL(t), migDeclareAll())
		require.NoError(t, db.Migrator().CreateTable(&MigTag{}, &MigOther{}))
		require.Equal(t, "mig_others:1 mig_tags:1", migTriggered(t, db))
		require.NoError(t, db.Migrator().CreateTable(&MigParent{}, &MigChild{}, &MigParentTag{}))
		require.NoError(t, p.Verify(t.Context()))
		require.Error(t, db.Migrator().CreateTable(&MigTag{}), "GORM's error must come through")
	})
	t.Run("TableByName", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t)
		require.NoError(t, db.Table("mig_elsewhere").AutoMigrate(&MigOther{}))
		require.True(t, db.Migrator().HasTable("mig_elsewhere"))
		require.Empty(t, migTriggered(t, db), "neither table was declared and migrated")
		require.NoError(t, db.Table("mig_others").AutoMigrate(&MigTag{}))
		require.Equal(t, "mig_others:1", migTriggered(t, db))
	})
	t.Run("AnotherModelOfTheTable", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t)
		require.NoError(t, db.AutoMigrate(&MigOtherToo{}))
		require.Equal(t, "mig_others:1", migTriggered(t, db))
	})
	t.Run("TableByNameWithASchema", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		hooks.OnInsert(&PlugFiled{}, plugIgnore[PlugFiled], hooks.In(r), hooks.Broadcast())
		db, _ := plugUse(t, plugURL(t), r)
		plugExec(t, db, "CREATE SCHEMA filing", "CREATE SCHEMA other")
		require.NoError(t, db.Table("other.filed_notes").AutoMigrate(&PlugFiled{}))
		require.Empty(t, migTriggered(t, db))
		require.NoError(t, db.Table("filing.filed_notes").AutoMigrate(&PlugFiled{}))
		require.Equal(t, "filing.filed_notes:1", migTriggered(t, db))
	})
}

func TestJoinTableRowsAreReported(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[MigParentTag]()
	hooks.On(&MigParentTag{}, triggers.Insert|triggers.Delete, h, hooks.In(r), hooks.Broadcast())
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&MigParent{}))
	pubsubtest.Listen(t, db)
	parent := MigParent{Name: "p", Tags: []MigTag{{Name: "t"}}}
	require.NoError(t, db.Create(&parent).Error)
	p := plugNext(t, got)
	require.Equal(t, triggers.Insert, p.Op)
	require.Equal(t, MigParentTag{MigParentID: parent.ID, MigTagID: parent.Tags[0].ID}, *p.New)
	require.NoError(t, db.Model(&parent).Association("Tags").Clear())
	require.Equal(t, triggers.Delete, plugNext(t, got).Op)
}

// The triggers come when all of the tables are there: a condition may ask another one.
func TestAConditionAsksATableThatIsMigratedLater(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[MigTag]()
	hooks.OnInsert(&MigTag{}, h, hooks.In(r), hooks.Broadcast(), hooks.When("EXISTS (SELECT FROM public.mig_others o WHERE o.name = NEW.name)"))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&MigTag{}, &MigOther{}))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&MigTag{Name: "too early"}).Error)
	require.NoError(t, db.Create(&MigOther{Name: "a"}).Error)
	require.NoError(t, db.Create(&MigTag{Name: "a"}).Error)
	require.Equal(t, "a", plugNext(t, got).New.Name)
}

func TestAutoMigrateInATransaction(t *testing.T) {
	t.Parallel()
	for name, prepared := range map[string]bool{"Plain": false, "PrepareStmt": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := plugOpen(t, postgres.Open(plugURL(t)), &gorm.Config{PrepareStmt: prepared})
			p := plugNew(t, migDeclareAll())
			require.NoError(t, db.Use(p))
			before := migFingerprint(t, db)
			errUndo := errors.New("undo")
			require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, tx.AutoMigrate(migModels()...))
				require.NotEmpty(t, migTriggered(t, tx))
				return errUndo
			}), errUndo)
			require.Equal(t, before, migFingerprint(t, db))
			require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, tx.Exec("SET LOCAL lock_timeout = '1234ms'").Error)
				require.NoError(t, tx.AutoMigrate(migModels()...))
				require.Equal(t, "1234ms", plugQuery[string](t, tx, "SHOW lock_timeout"), "the transaction is the caller's")
				return nil
			}))
			require.NoError(t, p.Verify(t.Context()))
		})
	}
}

func TestSecondMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	r, tracer := migDeclareAll(), &plugTracer{}
	in, cast := hooks.In(r), hooks.Broadcast()
	hooks.OnSave(&MigChild{}, plugIgnore[MigChild], in, cast, hooks.Columns("Name"), hooks.When("NEW.name <> '' -- a name"))
	hooks.OnDelete(&MigTag{}, plugIgnore[MigTag], in, cast)
	hooks.OnTruncate(&MigTag{}, plugIgnore[MigTag], in, cast)
	db := plugOpen(t, plugTraced(plugURL(t), tracer), nil)
	p := plugNew(t, r)
	require.NoError(t, db.Use(p))
	require.NoError(t, db.AutoMigrate(migModels()...))
	before := migFingerprint(t, db)
	tracer.take()
	for name, again := range map[string]func() error{
		"AutoMigrate":              func() error { return db.AutoMigrate(migModels()...) },
		"AutoMigrateInTransaction": func() error { return db.Transaction(func(tx *gorm.DB) error { return tx.AutoMigrate(&MigParent{}) }) },
		"Migrate":                  func() error { return p.Migrate(t.Context()) },
		"Verify":                   func() error { return p.Verify(t.Context()) },
		"Plan":                     func() error { _, err := p.Plan(t.Context()); return err },
		"SQL":                      func() error { _, err := p.SQL(t.Context()); return err },
		"Prune":                    func() error { _, err := p.Prune(t.Context()); return err },
	} {
		require.NoError(t, again(), name)
		statements := tracer.take()
		require.NotEmpty(t, statements, name)
		for _, statement := range statements {
			require.NotRegexp(t, migDDL, statement, name)
			if name != "Prune" {
				require.NotContains(t, statement, "advisory", name)
			}
		}
		require.Equal(t, before, migFingerprint(t, db), name)
		tracer.take()
	}
}

func TestDryRun(t *testing.T) { //nolint:paralleltest // os.Stdout, where GORM prints, is the process's
	r := hooks.NewRegistry()
	hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast(), hooks.Channel("dry_run_channel"))
	url := plugURL(t)
	db := plugOpen(t, postgres.Open(url), nil)
	p := plugNew(t, r)
	require.NoError(t, db.Use(p))
	for _, table := range []bool{false, true} {
		if table {
			plugExec(t, db, "CREATE TABLE mig_others (id bigserial PRIMARY KEY, name text)")
		}
		before := migFingerprint(t, db)
		printed := migPrinted(t, func() {
			require.NoError(t, db.Session(&gorm.Session{DryRun: true}).AutoMigrate(&MigOther{}))
		})
		require.Equal(t, before, migFingerprint(t, db))
		if !table {
			require.Contains(t, printed, "CREATE TABLE")
			require.Equal(t, 1, strings.Count(printed, "-- "), "the triggers depend on the table, and that is said once:\n%s", printed)
			continue
		}
		require.Equal(t, 1, strings.Count(printed, "CREATE OR REPLACE TRIGGER"), printed)
		require.Contains(t, printed, "dry_run_channel")
		script, err := p.SQL(t.Context())
		require.NoError(t, err)
		require.Contains(t, printed, strings.TrimSpace(script))
	}
	require.NoError(t, db.AutoMigrate(&MigOther{}))
	printed := migPrinted(t, func() { require.NoError(t, db.Session(&gorm.Session{DryRun: true}).AutoMigrate(&MigOther{})) })
	require.NotContains(t, strings.ToUpper(printed), "TRIGGER", "nothing is to do")
}

// migPrinted returns what f prints to the standard output.
func migPrinted(t *testing.T, f func()) string {
	t.Helper()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(read)
		text <- string(all)
	}()
	before := os.Stdout
	os.Stdout = write
	defer func() { os.Stdout = before }()
	f()
	require.NoError(t, write.Close())
	return <-text
}

// MigScore1 and MigScore2 are one table before and after a deployment.
type MigScore1 struct {
	ID    int64
	Score int
	Data  string `gorm:"type:json"`
	Place string `gorm:"size:10"`
}

func (MigScore1) TableName() string { return "mig_scores" }

type MigScore2 struct {
	ID    int64
	Score string `gorm:"type:text"`
	Data  string `gorm:"type:jsonb"`
	Place string `gorm:"size:20"`
	Added *time.Time
}

func (MigScore2) TableName() string { return "mig_scores" }

func TestAutoMigrateAltersColumnsUnderTriggers(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	opts := func(r *listener.Registry) []hooks.Option {
		return []hooks.Option{
			hooks.In(r), hooks.Broadcast(), hooks.Channel("scores"), hooks.Columns("Score", "Data", "Place"),
			hooks.When("NEW.score::text <> '0' AND NEW.place IS NOT NULL"),
		}
	}
	r1, r2 := hooks.NewRegistry(), hooks.NewRegistry()
	hooks.OnSave(&MigScore1{}, plugIgnore[MigScore1], opts(r1)...)
	h, got := plugCollect[MigScore2]()
	hooks.OnSave(&MigScore2{}, h, opts(r2)...)

	before, _ := plugUse(t, url, r1)
	require.NoError(t, before.AutoMigrate(&MigScore1{}))
	writer, err := pgx.Connect(t.Context(), url) // has run the triggers before and after
	require.NoError(t, err)
	defer func() { _ = writer.Close(context.Background()) }()
	write := func(score, place string) {
		_, err := writer.Exec(t.Context(), `INSERT INTO mig_scores (score, data, place) VALUES (`+score+`, '{}', $1)`, place)
		require.NoError(t, err)
		_, err = writer.Exec(t.Context(), `UPDATE mig_scores SET place = place || '!' WHERE place = $1`, place)
		require.NoError(t, err)
	}
	for range 7 { // beyond what plpgsql plans anew each time
		write("1", "old")
	}

	db, p := plugUse(t, url, r2)
	require.NoError(t, db.AutoMigrate(&MigScore2{}))
	require.Equal(t, "text", plugQuery[string](t, db, "SELECT data_type FROM information_schema.columns WHERE table_name = 'mig_scores' AND column_name = 'score'"))
	require.NoError(t, p.Verify(t.Context()))
	pubsubtest.Listen(t, db)
	write("'seven'", "new")
	first, second := plugNext(t, got), plugNext(t, got)
	require.Equal(t, "seven", first.New.Score)
	require.Equal(t, "new!", second.New.Place)
	require.Equal(t, "new", second.Old.Place)
	require.Empty(t, first.Missing())
	require.Zero(t, p.Health().Subscriptions[0].Lost)
}

func TestMigratorOnTablesWithTriggers(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, opts ...hooks.Option) (*gorm.DB, *pubsub.Plugin, chan hooks.TriggerPayload[MigScore1]) {
		t.Helper()
		r := hooks.NewRegistry()
		h, got := plugCollect[MigScore1]()
		hooks.On(&MigScore1{}, triggers.Insert|triggers.Update|triggers.Delete, h, append(opts, hooks.In(r), hooks.Broadcast(), hooks.Channel("scores"))...)
		db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&MigScore1{}))
		return db, pubsubtest.Of(t, db), got
	}
	write := func(t *testing.T, db *gorm.DB, table, column string) {
		t.Helper()
		plugExec(t, db, "INSERT INTO "+table+" ("+column+") VALUES ('1')", "UPDATE "+table+" SET "+column+" = '2'", "DELETE FROM "+table)
	}
	restricted := []hooks.Option{hooks.Columns("Score"), hooks.When("COALESCE(NEW.score, OLD.score) > -1")}

	t.Run("DropColumn", func(t *testing.T) {
		t.Parallel()
		db, p, _ := setup(t, restricted...)
		require.NoError(t, db.Migrator().DropColumn(&MigScore1{}, "Score"))
		write(t, db, "mig_scores", "place")
		err := p.Migrate(t.Context())
		require.ErrorContains(t, err, `"score"`)
		require.ErrorContains(t, err, "tests/migrate_test.go:")
	})
	t.Run("DropColumnOfACondition", func(t *testing.T) {
		t.Parallel()
		db, p, _ := setup(t, hooks.When("COALESCE(NEW.score, OLD.score) > -1"))
		require.NoError(t, db.Migrator().DropColumn(&MigScore1{}, "Score"))
		write(t, db, "mig_scores", "place")
		// Not one event gets out any more: the declaration is not in force.
		require.Error(t, p.Verify(t.Context()))
		require.ErrorContains(t, p.Migrate(t.Context()), "tests/migrate_test.go:")
	})
	t.Run("RenameColumnOfACondition", func(t *testing.T) {
		t.Parallel()
		db, p, _ := setup(t, hooks.When("COALESCE(NEW.score, OLD.score) > -1"))
		require.NoError(t, db.Migrator().RenameColumn(&MigScore1{}, "Score", "points"))
		write(t, db, "mig_scores", "points")
		require.Error(t, p.Verify(t.Context()))
		require.ErrorContains(t, p.Migrate(t.Context()), "tests/migrate_test.go:")
	})
	t.Run("DropColumnUnrestricted", func(t *testing.T) {
		t.Parallel()
		db, p, got := setup(t)
		require.NoError(t, db.Migrator().DropColumn(&MigScore1{}, "Score"))
		require.NoError(t, p.Verify(t.Context()))
		pubsubtest.Listen(t, db)
		write(t, db, "mig_scores", "place")
		p1 := plugNext(t, got)
		require.Equal(t, "1", p1.New.Place)
		require.Equal(t, []string{"score"}, p1.Missing())
	})
	t.Run("RenameTable", func(t *testing.T) {
		t.Parallel()
		db, p, _ := setup(t, restricted...)
		require.NoError(t, db.Migrator().RenameTable("mig_scores", "mig_points"))
		write(t, db, "mig_points", "score")
		require.ErrorIs(t, p.Migrate(t.Context()), triggers.ErrNoTable)
		require.NoError(t, db.Migrator().RenameTable("mig_points", "mig_scores"))
		require.NoError(t, p.Verify(t.Context()))
	})
	t.Run("RenameTableAndAnotherTakesItsName", func(t *testing.T) {
		t.Parallel()
		db, p, got := setup(t, restricted...)
		require.NoError(t, db.Migrator().RenameTable("mig_scores", "mig_points"))
		require.NoError(t, db.Migrator().RenameIndex("mig_points", "mig_scores_pkey", "mig_points_pkey"))
		require.NoError(t, db.AutoMigrate(&MigScore1{}))
		plan, err := p.Plan(t.Context())
		require.NoError(t, err)
		require.Len(t, plan.Orphans(), 3, "the triggers that went with the renamed table")
		dropped, err := p.Prune(t.Context())
		require.NoError(t, err)
		require.Len(t, dropped, 3)
		require.Equal(t, "mig_scores:3", migTriggered(t, db))
		pubsubtest.Listen(t, db)
		write(t, db, "mig_points", "score")
		plugExec(t, db, "INSERT INTO mig_scores (score) VALUES (77)")
		require.Equal(t, 77, plugNext(t, got).New.Score)
	})
	t.Run("DropTable", func(t *testing.T) {
		t.Parallel()
		db, p, got := setup(t, restricted...)
		require.NoError(t, db.Migrator().DropTable(&MigScore1{}))
		require.ErrorIs(t, p.Migrate(t.Context()), triggers.ErrNoTable)
		require.NoError(t, db.AutoMigrate(&MigScore1{}))
		require.NoError(t, p.Verify(t.Context()))
		pubsubtest.Listen(t, db)
		write(t, db, "mig_scores", "score")
		require.Equal(t, 1, plugNext(t, got).New.Score)
	})
}

func TestMigrateErrors(t *testing.T) {
	t.Parallel()
	t.Run("NoTable", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		place := plugHere()
		hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast())
		_, p := plugUse(t, plugURL(t), r)
		require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrNotMigrated)
		require.ErrorIs(t, p.Migrate(t.Context()), triggers.ErrNoTable) // our own tables are made all the same
		for name, call := range map[string]func() error{
			"Migrate": func() error { return p.Migrate(t.Context()) },
			"Verify":  func() error { return p.Verify(t.Context()) },
			"SQL":     func() error { _, err := p.SQL(t.Context()); return err },
			"Plan":    func() error { _, err := p.Plan(t.Context()); return err },
		} {
			err := call()
			require.ErrorIs(t, err, triggers.ErrNoTable, name)
			require.ErrorContains(t, err, place, name)
			require.ErrorContains(t, err, "mig_others", name)
		}
	})
	for name, c := range map[string]struct {
		table string
		opt   hooks.Option
		text  string
	}{
		"NoColumn":           {"CREATE TABLE mig_others (id bigint)", hooks.Columns("Name"), `"name"`},
		"View":               {"CREATE VIEW mig_others AS SELECT 1 AS id, '' AS name", hooks.Columns("Name"), "view"},
		"MaterializedView":   {"CREATE MATERIALIZED VIEW mig_others AS SELECT 1 AS id, '' AS name", hooks.Columns("Name"), "materialized view"},
		"ConditionSyntax":    {"CREATE TABLE mig_others (id bigint, name text)", hooks.When("NEW.name = = 'x'"), "condition"},
		"ConditionColumn":    {"CREATE TABLE mig_others (id bigint, name text)", hooks.When("NEW.nmae = 'x'"), "condition"},
		"ConditionUnnamed":   {"CREATE TABLE mig_others (id bigint, name text)", hooks.When("name = 'x'"), "condition"},
		"ConditionFunction":  {"CREATE TABLE mig_others (id bigint, name text)", hooks.When("no_such_function(NEW.name)"), "condition"},
		"ConditionNoBoolean": {"CREATE TABLE mig_others (id bigint, name text)", hooks.When("NEW.id"), "condition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			place := plugHere()
			hooks.OnUpdate(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast(), c.opt)
			db, p := plugUse(t, plugURL(t), r)
			plugExec(t, db, c.table)
			err := p.Migrate(t.Context())
			require.ErrorContains(t, err, place)
			require.ErrorContains(t, err, c.text)
			require.Empty(t, migTriggered(t, db))
		})
	}
	t.Run("EveryProblemAtOnce", func(t *testing.T) {
		t.Parallel()
		_, p := plugUse(t, plugURL(t), migDeclareAll())
		err := p.Migrate(t.Context())
		for _, table := range []string{"mig_parents", "mig_children", "mig_tags", "mig_parent_tags", "mig_others"} {
			require.ErrorContains(t, err, table)
		}
	})
}

func TestMigrateOnALockedTable(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	place := plugHere()
	hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast())
	db, p := plugUse(t, plugURL(t), r, pubsub.LockTimeout(10*time.Millisecond))
	plugExec(t, db, "CREATE TABLE mig_others (id bigserial, name text)")
	writer := db.Begin()
	require.NoError(t, writer.Create(&MigOther{Name: "a running writer"}).Error)

	began := time.Now()
	err := p.Migrate(t.Context())
	require.ErrorContains(t, err, "locked")
	require.ErrorContains(t, err, place)
	require.Less(t, time.Since(began), 20*time.Second)

	ctx, cancel := context.WithCancelCause(t.Context())
	errEnough := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(errEnough) })
	began = time.Now()
	require.Error(t, p.Migrate(ctx))
	require.Less(t, time.Since(began), time.Second)

	// In a transaction of the caller's there is one attempt.
	began = time.Now()
	require.ErrorContains(t, db.Transaction(func(tx *gorm.DB) error { return tx.AutoMigrate(&MigOther{}) }), "locked")
	require.Less(t, time.Since(began), 2*time.Second)

	require.NoError(t, writer.Commit().Error)
	require.NoError(t, p.Migrate(t.Context()))
	require.NoError(t, p.Verify(t.Context()))
}

// migRole opens the database as a new role without rights, and returns its name.
func migRole(t *testing.T, url string) (gorm.Dialector, string) {
	t.Helper()
	super := plugOpen(t, postgres.Open(url), nil)
	role := "mig_" + plugQuery[string](t, super, "SELECT substr(md5(random()::text || clock_timestamp()::text), 1, 12)")
	plugExec(t, super, "CREATE ROLE "+role)
	t.Cleanup(func() {
		_, err := super.Statement.ConnPool.ExecContext(context.Background(), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role)
		require.NoError(t, err)
	})
	return postgres.New(postgres.Config{DSN: url, OptionOpenDB: []stdlib.OptionOpenDB{
		stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "SET ROLE "+role)
			return err
		}),
	}}), role
}

func TestMigrateAsAnOrdinaryRole(t *testing.T) {
	t.Parallel()
	declare := func() *listener.Registry {
		r := hooks.NewRegistry()
		hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast())
		return r
	}
	setup := func(t *testing.T, statements ...string) (*gorm.DB, *pubsub.Plugin, string) {
		t.Helper()
		url := plugURL(t)
		dialector, role := migRole(t, url)
		super := plugOpen(t, postgres.Open(url), nil)
		plugExec(t, super, "CREATE TABLE mig_others (id bigserial PRIMARY KEY, name text)", "ALTER TABLE mig_others OWNER TO "+role)
		for _, s := range statements {
			plugExec(t, super, strings.ReplaceAll(s, "{role}", role))
		}
		db, p := plugOpen(t, dialector, nil), plugNew(t, declare())
		require.NoError(t, db.Use(p))
		return db, p, url
	}
	t.Run("SchemaMissing", func(t *testing.T) {
		t.Parallel()
		_, p, _ := setup(t)
		err := p.Migrate(t.Context())
		require.ErrorContains(t, err, "permission denied")
		require.ErrorContains(t, err, `"pubsub"`)
	})
	t.Run("SchemaThere", func(t *testing.T) {
		t.Parallel()
		db, p, _ := setup(t, "CREATE SCHEMA pubsub", "GRANT USAGE, CREATE ON SCHEMA pubsub TO {role}")
		require.NoError(t, p.Migrate(t.Context()))
		require.NoError(t, p.Verify(t.Context()))
		require.NoError(t, db.Create(&MigOther{Name: "a"}).Error)
	})
	t.Run("SchemaClosed", func(t *testing.T) {
		t.Parallel()
		_, p, _ := setup(t, "CREATE SCHEMA pubsub")
		err := p.Migrate(t.Context())
		require.ErrorContains(t, err, "permission denied")
		require.ErrorContains(t, err, "pubsub")
	})
	t.Run("NotTheTablesOwner", func(t *testing.T) {
		t.Parallel()
		_, p, _ := setup(t, "ALTER TABLE mig_others OWNER TO CURRENT_USER", "CREATE SCHEMA pubsub", "GRANT USAGE, CREATE ON SCHEMA pubsub TO {role}")
		err := p.Migrate(t.Context())
		require.ErrorContains(t, err, "permission denied")
		require.ErrorContains(t, err, "mig_others")
		require.ErrorContains(t, err, "tests/migrate_test.go:")
	})
	t.Run("WriterWithoutRights", func(t *testing.T) {
		t.Parallel()
		db, _, url := setup(t, "ALTER TABLE mig_others OWNER TO CURRENT_USER",
			"GRANT INSERT ON mig_others TO {role}", "GRANT USAGE ON SEQUENCE mig_others_id_seq TO {role}")
		r := hooks.NewRegistry()
		h, got := plugCollect[MigOther]()
		hooks.OnInsert(&MigOther{}, h, hooks.In(r), hooks.Broadcast())
		owner, p := plugUse(t, url, r)
		require.NoError(t, p.Migrate(t.Context()))
		pubsubtest.Listen(t, owner)
		long := strings.Repeat("long ", 3000) // is stored in a table that the role can't see
		plugExec(t, db, "INSERT INTO mig_others (name) VALUES ('short'), ('"+long+"')")
		require.Equal(t, "short", plugNext(t, got).New.Name)
		require.Equal(t, long, plugNext(t, got).New.Name)
	})
}

func TestPlanAndVerify(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[MigOther]()
	place := plugHere()
	hooks.OnSave(&MigOther{}, h, hooks.In(r), hooks.Broadcast(), hooks.Channel("others"))
	typed := listener.NewChannel[int]("typed", listener.In(r), listener.Broadcast())
	typed.Listen(func(context.Context, *gorm.DB, int) error { return nil })
	db, p := plugUse(t, plugURL(t), r)
	plugExec(t, db, "CREATE TABLE mig_others (id bigserial PRIMARY KEY, name text)")
	ctx := t.Context()

	// Nothing is there.
	plan, err := p.Plan(ctx)
	require.NoError(t, err)
	require.Equal(t, "pubsub", plan.Schema)
	require.Len(t, plan.Items, 2)
	for i, op := range []triggers.Op{triggers.Insert, triggers.Update} {
		item := plan.Items[i]
		require.Equal(t, triggers.Missing, item.State)
		require.Equal(t, op, item.Op)
		require.Equal(t, "others", item.Channel)
		require.Equal(t, `"public"."mig_others"`, item.Table)
		require.Equal(t, place, item.Site)
	}
	require.ErrorIs(t, p.Verify(ctx), triggers.ErrNotMigrated)

	// The script does what Migrate would.
	script, err := p.SQL(ctx)
	require.NoError(t, err)
	plugExec(t, db, script)
	require.NoError(t, p.Verify(ctx))
	before := migFingerprint(t, db)
	require.NoError(t, p.Migrate(ctx))
	require.Equal(t, before, migFingerprint(t, db))
	script, err = p.SQL(ctx)
	require.NoError(t, err)
	require.Empty(t, script)
	plan, err = p.Plan(ctx)
	require.NoError(t, err)
	require.Len(t, plan.Items, 2)
	require.Empty(t, plan.Todo())

	// Disable, and Migrate leaves it off.
	pubsubtest.Listen(t, db)
	require.NoError(t, p.Disable(ctx, "others"))
	require.NoError(t, p.Migrate(ctx))
	function := func(op triggers.Op) string { // of the channel's trigger
		for _, item := range plan.Items {
			if item.Op == op {
				return plugQuery[string](t, db, "SELECT tgfoid::regprocedure::text FROM pg_trigger WHERE tgname = $1", item.Trigger)
			}
		}
		return ""
	}
	plugExec(t, db, "ALTER FUNCTION "+function(triggers.Insert)+" RESET ALL") // so that it has to be replaced
	require.NoError(t, p.Migrate(ctx))
	require.NoError(t, db.AutoMigrate(&MigOther{}))
	err = p.Verify(ctx)
	require.ErrorIs(t, err, triggers.ErrDrift)
	require.Equal(t, 2, strings.Count(err.Error(), "disabled: "), err)
	require.NoError(t, db.Create(&MigOther{Name: "unheard"}).Error)
	require.NoError(t, p.Enable(ctx, "others"))
	require.NoError(t, p.Verify(ctx))
	require.NoError(t, db.Create(&MigOther{Name: "heard"}).Error)
	require.Equal(t, "heard", plugNext(t, got).New.Name)
	for _, channel := range []string{"nope", "typed", ""} {
		require.ErrorIs(t, p.Enable(ctx, channel), triggers.ErrUnknownChannel, channel)
		require.ErrorIs(t, p.Disable(ctx, channel), triggers.ErrUnknownChannel, channel)
	}

	// Somebody meddles.
	plugExec(t, db, "ALTER FUNCTION "+function(triggers.Update)+" SECURITY INVOKER", "DROP TRIGGER "+plan.Items[0].Trigger+" ON mig_others")
	err = p.Verify(ctx)
	require.ErrorContains(t, err, "missing")
	require.ErrorContains(t, err, "outdated")
	require.NoError(t, p.Migrate(ctx))
	require.NoError(t, p.Verify(ctx))
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	db, p := plugUse(t, url, migDeclareAll())
	require.NoError(t, db.AutoMigrate(migModels()...))

	// The next version declares one of them alone, and something new.
	r := hooks.NewRegistry()
	hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r), hooks.Broadcast())
	hooks.OnDelete(&MigTag{}, plugIgnore[MigTag], hooks.In(r), hooks.Broadcast())
	next, q := plugUse(t, url, r)
	require.NoError(t, next.AutoMigrate(migModels()...))
	require.NoError(t, q.Verify(t.Context()), "orphans are no drift")
	plan, err := q.Plan(t.Context())
	require.NoError(t, err)
	orphans := plan.Orphans()
	require.Len(t, orphans, 4)
	for _, item := range orphans {
		require.Equal(t, triggers.Orphaned, item.State)
		require.Equal(t, triggers.Insert, item.Op)
	}
	require.NoError(t, p.Verify(t.Context()), "Migrate leaves orphans alone")
	script, err := q.SQL(t.Context())
	require.NoError(t, err)
	require.Empty(t, script)

	dropped, err := q.Prune(t.Context())
	require.NoError(t, err)
	require.Equal(t, orphans, dropped)
	require.Equal(t, "mig_others:1 mig_tags:1", migTriggered(t, db))
	require.Equal(t, 2, plugQuery[int](t, db, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'pubsub'::regnamespace AND prorettype = 'trigger'::regtype"))
	require.NoError(t, q.Verify(t.Context()))
	require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrDrift)
	dropped, err = q.Prune(t.Context())
	require.NoError(t, err)
	require.Empty(t, dropped)
}

// A channel that moves to another table leaves a trigger on the first.
func TestAChannelMovesToAnotherTable(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	r1, r2 := hooks.NewRegistry(), hooks.NewRegistry()
	hooks.OnInsert(&MigOther{}, plugIgnore[MigOther], hooks.In(r1), hooks.Broadcast(), hooks.Channel("moves"))
	h, got := plugCollect[MigTag]()
	hooks.OnInsert(&MigTag{}, h, hooks.In(r2), hooks.Broadcast(), hooks.Channel("moves"))
	db, _ := plugUse(t, url, r1)
	require.NoError(t, db.AutoMigrate(&MigOther{}, &MigTag{}))
	next, q := plugUse(t, url, r2)
	require.NoError(t, next.AutoMigrate(&MigOther{}, &MigTag{}))
	plan, err := q.Plan(t.Context())
	require.NoError(t, err)
	require.Len(t, plan.Orphans(), 1)
	dropped, err := q.Prune(t.Context())
	require.NoError(t, err)
	require.Len(t, dropped, 1)
	require.Equal(t, "mig_tags:1", migTriggered(t, db))
	require.NoError(t, q.Verify(t.Context()))
	pubsubtest.Listen(t, next)
	require.NoError(t, db.Create(&MigOther{Name: "unheard"}).Error)
	require.NoError(t, db.Create(&MigTag{Name: "heard"}).Error)
	require.Equal(t, "heard", plugNext(t, got).New.Name)
}

func TestOddSchemas(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`My "Odd" Schéma's`, "UPPER", "with.dot", "select", `back\slash`, "%s", "$pubsub$", strings.Repeat("é", 31)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			x := plugExercise[PlugNote](r)
			db, p := plugUse(t, plugURL(t), r, pubsub.Schema(name))
			x.run(t, db, p, func(text string) *PlugNote { return &PlugNote{Text: text} }, func(n *PlugNote) *PlugNote { return n })
			require.Equal(t, name, p.PubSubSchema())
			require.Equal(t, 1, plugQuery[int](t, db, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", name))
			require.NoError(t, p.Migrate(t.Context()))
			channels, err := p.Channels()
			require.NoError(t, err)
			require.NoError(t, p.Disable(t.Context(), channels[0]))
			require.NoError(t, p.Enable(t.Context(), channels[0]))
			require.NoError(t, p.Verify(t.Context()))
			dropped, err := p.Prune(t.Context())
			require.NoError(t, err)
			require.Empty(t, dropped)
		})
	}
}

func TestTwoSchemasInOneDatabase(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	declare := func(name string) (*listener.Registry, chan hooks.TriggerPayload[MigOther]) {
		r := hooks.NewRegistry()
		h, got := plugCollect[MigOther]()
		hooks.OnInsert(&MigOther{}, h, hooks.In(r), hooks.Broadcast(), hooks.Channel(name))
		return r, got
	}
	r1, got1 := declare("first")
	r2, got2 := declare("second")
	db1, p1 := plugUse(t, url, r1, pubsub.Schema("app_one"))
	db2, p2 := plugUse(t, url, r2, pubsub.Schema("app_two"))
	require.NoError(t, db1.AutoMigrate(&MigOther{}))
	require.NoError(t, db2.AutoMigrate(&MigOther{}))
	for _, p := range []*pubsub.Plugin{p1, p2} {
		dropped, err := p.Prune(t.Context())
		require.NoError(t, err)
		require.Empty(t, dropped, "the other application's triggers are none of ours")
		require.NoError(t, p.Verify(t.Context()))
	}
	pubsubtest.Listen(t, db1)
	pubsubtest.Listen(t, db2)
	require.NoError(t, db1.Create(&MigOther{Name: "for both"}).Error)
	require.Equal(t, "for both", plugNext(t, got1).New.Name)
	require.Equal(t, "for both", plugNext(t, got2).New.Name)
}

func TestMigrationsAtOnce(t *testing.T) {
	t.Parallel()
	const processes = 20
	url, r, models := plugURL(t), migDeclareAll(), migModels()
	plain := plugOpen(t, postgres.Open(url), nil)
	require.NoError(t, plain.AutoMigrate(models...))

	start, failures := make(chan struct{}), make([]error, processes)
	plugins := make([]*pubsub.Plugin, processes)
	var group sync.WaitGroup
	for i := range processes {
		var db *gorm.DB
		db, plugins[i] = plugUse(t, url, r)
		group.Go(func() {
			<-start
			if i%2 == 0 {
				failures[i] = plugins[i].Migrate(t.Context())
				return
			}
			failures[i] = db.AutoMigrate(models...)
		})
	}
	writing, stop := context.WithCancel(t.Context())
	writes := make(chan error, 1)
	go func() { // on a live system
		var err error
		for err == nil && writing.Err() == nil {
			err = plain.Create(&MigOther{Name: "live"}).Error
		}
		writes <- err
	}()
	close(start)
	group.Wait()
	stop()
	require.NoError(t, <-writes)
	require.NoError(t, errors.Join(failures...))
	for _, p := range plugins {
		require.NoError(t, p.Verify(t.Context()))
	}
	require.Equal(t, "mig_children:1 mig_others:1 mig_parent_tags:1 mig_parents:1 mig_tags:1", migTriggered(t, plain))
	require.Equal(t, 2, plugQuery[int](t, plain, "SELECT count(*) FROM pubsub.migration"))
}

func TestMigrateFromManyGoroutinesOfOnePlugin(t *testing.T) {
	t.Parallel()
	db, p := plugUse(t, plugURL(t), migDeclareAll())
	plain := plugOpen(t, db.Dialector.(*pubsub.Dialector).Unwrap(), nil)
	require.NoError(t, plain.AutoMigrate(migModels()...))
	var group sync.WaitGroup
	failures := make([]error, 8)
	for i := range failures {
		group.Go(func() { failures[i] = p.Migrate(t.Context()) })
	}
	group.Wait()
	require.NoError(t, errors.Join(failures...))
	require.NoError(t, p.Verify(t.Context()))
}

// A newer version of the application has migrated already.
func TestANewerVersionsTablesAreLeftAlone(t *testing.T) {
	t.Parallel()
	db, p := plugUse(t, plugURL(t), migDeclareAll())
	require.NoError(t, db.AutoMigrate(migModels()...))
	plugExec(t, db, "INSERT INTO pubsub.migration (version, name) VALUES (9999, 'of the future')")
	before := migFingerprint(t, db)
	require.NoError(t, p.Migrate(t.Context()))
	require.Equal(t, before, migFingerprint(t, db))
	script, err := p.SQL(t.Context())
	require.NoError(t, err)
	require.Empty(t, script)
}

func TestPlanIsSorted(t *testing.T) {
	t.Parallel()
	db, p := plugUse(t, plugURL(t), migDeclareAll())
	require.NoError(t, db.AutoMigrate(migModels()...))
	plan, err := p.Plan(t.Context())
	require.NoError(t, err)
	require.Len(t, plan.Items, 5)
	require.True(t, slices.IsSortedFunc(plan.Items, func(a, b triggers.Item) int {
		return strings.Compare(a.Table+a.Trigger, b.Table+b.Trigger)
	}), fmt.Sprint(plan.Items))
}
