package tests

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
	gormtests "gorm.io/gorm/utils/tests"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// plugLimit is how long a test waits for what must come.
const plugLimit = 30 * time.Second

// plugForever is the lifetime of prepared statements for which GORM starts no
// goroutine that never ends (gorm.io/gorm/internal/lru).
const plugForever = 10 * 365 * 24 * time.Hour

// plugURL returns the address of a new database.
func plugURL(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	url, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, drop(ctx))
	})
	return url
}

// plugOpen opens GORM without the plugin.
func plugOpen(t *testing.T, d gorm.Dialector, g *gorm.Config) *gorm.DB {
	t.Helper()
	if g == nil {
		g = &gorm.Config{}
	}
	g.Logger, g.PrepareStmtTTL = logger.Discard, plugForever
	db, err := gorm.Open(d, g)
	require.NoError(t, err)
	plugCloseLater(t, db)
	return db
}

func plugCloseLater(t *testing.T, db *gorm.DB) {
	t.Helper()
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { _ = pool.Close() })
}

// plugNew returns a plugin that logs to the test.
func plugNew(t *testing.T, r *listener.Registry, opts ...pubsub.Option) *pubsub.Plugin {
	t.Helper()
	return pubsub.New(append([]pubsub.Option{
		pubsub.WithRegistry(r), pubsub.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))),
	}, opts...)...)
}

// plugUse opens a database with the plugin in use.
func plugUse(t *testing.T, url string, r *listener.Registry, opts ...pubsub.Option) (*gorm.DB, *pubsub.Plugin) {
	t.Helper()
	db, p := plugOpen(t, postgres.Open(url), nil), plugNew(t, r, opts...)
	require.NoError(t, db.Use(p))
	return db, p
}

// plugNext returns what comes next.
func plugNext[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(plugLimit):
		require.FailNow(t, "nothing came", "within %s", plugLimit)
	}
	panic("not reached")
}

// plugExec runs statements as they are.
func plugExec(t *testing.T, db *gorm.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.Statement.ConnPool.ExecContext(t.Context(), s)
		require.NoError(t, err, s)
	}
}

// plugQuery returns the single value of a query.
func plugQuery[T any](t *testing.T, db *gorm.DB, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.Statement.ConnPool.QueryRowContext(t.Context(), query, args...).Scan(&v), query)
	return v
}

// plugHere returns the place of the line after the caller's.
func plugHere() string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("tests/%s:%d", file[strings.LastIndexByte(file, '/')+1:], line+1)
}

// plugCollect returns a handler and what it was given.
func plugCollect[M any]() (hooks.Handler[M], chan hooks.TriggerPayload[M]) {
	got := make(chan hooks.TriggerPayload[M], 10_000)
	return func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[M]) error { got <- p; return nil }, got
}

// plugIgnore is a handler that does nothing.
func plugIgnore[M any](context.Context, *gorm.DB, hooks.TriggerPayload[M]) error { return nil }

// PlugNote is an ordinary model.
type PlugNote struct {
	ID   int64
	Text string
	Code *string `gorm:"uniqueIndex"`
}

// PlugFiled names its table with a schema.
type PlugFiled struct {
	PlugNote
}

func (PlugFiled) TableName() string { return "filing.filed_notes" }

func TestUseRefusesWhatIsNotPostgres(t *testing.T) {
	t.Parallel()
	p := plugNew(t, hooks.NewRegistry())
	dummy, err := gorm.Open(gormtests.DummyDialector{}, &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	err = dummy.Use(p)
	require.ErrorIs(t, err, pubsub.ErrNotPostgres)
	require.ErrorContains(t, err, `"dummy"`)
	require.ErrorIs(t, p.Migrate(t.Context()), pubsub.ErrNotUsed)

	// The refusal leaves nothing behind.
	db := plugOpen(t, postgres.Open(plugURL(t)), nil)
	require.NoError(t, db.Use(p))
	require.NoError(t, p.Migrate(t.Context()))
}

func TestTwoPlugins(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	t.Run("OnOneDB", func(t *testing.T) {
		t.Parallel()
		db, first := plugUse(t, url, hooks.NewRegistry())
		second := plugNew(t, hooks.NewRegistry(), pubsub.Schema("second"))
		err := db.Use(second)
		require.ErrorIs(t, err, pubsub.ErrTwoPlugins)
		require.ErrorContains(t, err, "registry", "the error must say what to do instead")
		require.ErrorIs(t, second.Migrate(t.Context()), pubsub.ErrNotUsed)
		require.NoError(t, first.Migrate(t.Context()))
		require.Same(t, first, pubsubtest.Of(t, db))
	})
	t.Run("OneOnTwoDBs", func(t *testing.T) {
		t.Parallel()
		_, p := plugUse(t, url, hooks.NewRegistry(), pubsub.Schema("shared_by_two"))
		other := plugOpen(t, postgres.Open(url), nil)
		err := other.Use(p)
		require.ErrorIs(t, err, pubsub.ErrTwoPlugins)
		require.ErrorContains(t, err, "New", "the error must say what to do instead")
		require.Empty(t, other.Plugins)
		require.NoError(t, p.Migrate(t.Context()))
	})
	t.Run("OneTwiceOnOneDB", func(t *testing.T) {
		t.Parallel()
		db, p := plugUse(t, url, hooks.NewRegistry(), pubsub.Schema("twice"))
		require.ErrorIs(t, db.Use(p), gorm.ErrRegistered)
		require.NoError(t, p.Migrate(t.Context()))
	})
	t.Run("InTheConfig", func(t *testing.T) {
		t.Parallel()
		db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard, Plugins: map[string]gorm.Plugin{
			"one": plugNew(t, hooks.NewRegistry()), "two": plugNew(t, hooks.NewRegistry()),
		}})
		require.ErrorIs(t, err, pubsub.ErrTwoPlugins)
		plugCloseLater(t, db)
	})
}

func TestMethodsBeforeUse(t *testing.T) {
	t.Parallel()
	p := plugNew(t, hooks.NewRegistry())
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Migrate":   func() error { return p.Migrate(ctx) },
		"Listen":    func() error { return p.Listen(ctx) },
		"Verify":    func() error { return p.Verify(ctx) },
		"Enable":    func() error { return p.Enable(ctx, "x") },
		"Disable":   func() error { return p.Disable(ctx, "x") },
		"Plan":      func() error { _, err := p.Plan(ctx); return err },
		"SQL":       func() error { _, err := p.SQL(ctx); return err },
		"Prune":     func() error { _, err := p.Prune(ctx); return err },
		"Channels":  func() error { _, err := p.Channels(); return err },
		"Listeners": func() error { _, err := p.Listeners(ctx, "x"); return err },
	} {
		require.ErrorIs(t, call(), pubsub.ErrNotUsed, name)
	}
	require.Nil(t, p.Ready())
	require.Zero(t, p.Health())
	require.Error(t, p.Health().Err())
	require.Equal(t, triggers.DefaultSchema, p.PubSubSchema())
}

func TestPluginOptionsAreChecked(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	require.Error(t, plugOpen(t, postgres.Open(url), nil).Use(pubsub.New(pubsub.WithRegistry(nil))))
	long := strings.Repeat("s", triggers.MaxIdentifier+1)
	err := plugOpen(t, postgres.Open(url), nil).Use(plugNew(t, hooks.NewRegistry(), pubsub.Schema(long)))
	require.ErrorContains(t, err, "64")
}

type plugKeyless struct{ Text string }

type plugBroken struct {
	ID    int64
	Inner struct{ A, B int } // GORM takes it for a relation without a key
}

func TestUseReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in, cast := hooks.In(r), hooks.Broadcast()
	note := plugIgnore[PlugNote]
	var places []string

	places = append(places, plugHere())
	hooks.OnInsert(&plugBroken{}, plugIgnore[plugBroken], in, cast)
	places = append(places, plugHere())
	hooks.OnUpdate(&PlugNote{}, note, in, cast, hooks.Name("typo"), hooks.Columns("Text", "txet"), hooks.Channel("typo"))
	places = append(places, plugHere())
	hooks.OnSoftDelete(&PlugNote{}, note, in, cast, hooks.Name("hard"))
	places = append(places, plugHere())
	hooks.OnDelete(&plugKeyless{}, plugIgnore[plugKeyless], in, hooks.Ordered())
	places = append(places, plugHere())
	hooks.OnInsert(&PlugNote{}, note, in, cast, hooks.Name("two meanings 1"), hooks.Channel("two_meanings"))
	places = append(places, plugHere())
	hooks.OnDelete(&PlugNote{}, note, in, cast, hooks.Name("two meanings 2"), hooks.Channel("two_meanings"))
	places = append(places, plugHere())
	hooks.OnInsert(&PlugNote{}, note, in, cast, hooks.Name("mixed 1"), hooks.Channel("mixed"))
	places = append(places, plugHere())
	mixed := listener.NewChannel[int]("mixed", listener.In(r), listener.Broadcast())
	mixed.Listen(func(context.Context, *gorm.DB, int) error { return nil })
	hooks.OnTruncate(&PlugNote{}, note, in, cast, hooks.Name("nothing wrong here"))

	db := plugOpen(t, postgres.Open(plugURL(t)), nil)
	p := plugNew(t, r)
	err := db.Use(p)
	require.Error(t, err)
	require.Empty(t, db.Plugins)
	for _, place := range places {
		require.ErrorContains(t, err, place)
	}
	for _, text := range []string{
		"plugBroken", `"txet"`, "id, text, code", "soft-delete", "two_meanings", `"mixed"`, "plug_keylesses",
	} {
		require.ErrorContains(t, err, text)
	}
	require.NotContains(t, err.Error(), "nothing wrong here")
	require.IsType(t, &postgres.Dialector{}, db.Dialector, "a refused plugin must leave the *gorm.DB alone")
	require.ErrorIs(t, p.Migrate(t.Context()), pubsub.ErrNotUsed)
}

// A typed channel that is only notified in this process is still one.
func TestUseReportsAModelOnATypedChannelWithoutListeners(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	listener.NewChannel[int]("plug_notes_insert", listener.In(r), listener.Broadcast())
	hooks.OnInsert(&PlugNote{}, plugIgnore[PlugNote], hooks.In(r), hooks.Broadcast())
	err := plugOpen(t, postgres.Open(plugURL(t)), nil).Use(plugNew(t, r))
	require.ErrorContains(t, err, "plug_notes_insert")
}

// plugByDefault is declared in the registry of those that name none.
var plugByDefault = listener.NewChannel[string]("plug_default_registry", listener.Broadcast())

func init() {
	plugByDefault.Listen(func(_ context.Context, _ *gorm.DB, v string) error { plugDefaults <- v; return nil })
}

var plugDefaults = make(chan string, 100)

func TestDefaultRegistry(t *testing.T) {
	t.Parallel()
	url := plugURL(t)
	db := plugOpen(t, postgres.Open(url), nil)
	p := pubsub.New()
	require.NoError(t, db.Use(p))
	channels, err := p.Channels()
	require.NoError(t, err)
	require.Contains(t, channels, plugByDefault.Name())
	require.NoError(t, p.Migrate(t.Context()))
	pubsubtest.Listen(t, db, plugByDefault.Name())
	require.NoError(t, plugByDefault.Notify(t.Context(), db, "hello"))
	require.Equal(t, "hello", plugNext(t, plugDefaults))

	_, q := plugUse(t, url, hooks.NewRegistry())
	channels, err = q.Channels()
	require.NoError(t, err)
	require.Empty(t, channels)
	require.ErrorIs(t, q.Listen(t.Context()), listener.ErrNothingDeclared)
}

// plugResolver does to a *gorm.DB what gorm.io/plugin/dbresolver v1.6.2 does:
// it opens its databases with a copy of the configuration, plugins included,
// and puts their pools into each statement outside of a transaction.
type plugResolver struct {
	source, replica gorm.Dialector
	once            sync.Once
	write, read     gorm.ConnPool
	used            sync.Map
}

func (r *plugResolver) Name() string { return "gorm:db_resolver" }

func (r *plugResolver) Initialize(db *gorm.DB) (err error) {
	r.once.Do(func() {
		if r.write, err = r.open(db, r.source); err != nil {
			return
		}
		if r.read, err = r.open(db, r.replica); err != nil {
			return
		}
		put := func(name string, pool gorm.ConnPool) func(*gorm.DB) {
			return func(db *gorm.DB) {
				if _, running := db.Statement.ConnPool.(gorm.TxCommitter); !running {
					r.used.Store(name, true)
					db.Statement.ConnPool = pool
				}
			}
		}
		guess := func(db *gorm.DB) {
			if sql := strings.TrimSpace(db.Statement.SQL.String()); len(sql) > 6 && !strings.EqualFold(sql[:6], "select") {
				put("source", r.write)(db)
				return
			}
			put("replica", r.read)(db)
		}
		for _, register := range []error{
			db.Callback().Create().Before("*").Register(r.Name(), put("source", r.write)),
			db.Callback().Update().Before("*").Register(r.Name(), put("source", r.write)),
			db.Callback().Delete().Before("*").Register(r.Name(), put("source", r.write)),
			db.Callback().Query().Before("*").Register(r.Name(), guess),
			db.Callback().Row().Before("*").Register(r.Name(), guess),
			db.Callback().Raw().Before("*").Register(r.Name(), guess),
		} {
			err = errors.Join(err, register)
		}
	})
	return err
}

func (r *plugResolver) open(db *gorm.DB, d gorm.Dialector) (gorm.ConnPool, error) {
	config := *db.Config
	opened, err := gorm.Open(d, &config)
	if err != nil {
		return nil, err
	}
	pool := opened.ConnPool
	if prepared, ok := pool.(*gorm.PreparedStmtDB); ok {
		pool = prepared.ConnPool
	}
	if db.PrepareStmt {
		return gorm.NewPreparedStmtDB(pool, 0, plugForever), nil
	}
	return pool, nil
}

func plugNewResolver(t *testing.T, url string) *plugResolver {
	t.Helper()
	r := &plugResolver{source: postgres.Open(url), replica: postgres.Open(url)}
	t.Cleanup(func() {
		for _, pool := range []gorm.ConnPool{r.write, r.read} {
			if prepared, ok := pool.(*gorm.PreparedStmtDB); ok {
				pool = prepared.ConnPool
			}
			if db, ok := pool.(io.Closer); ok {
				_ = db.Close()
			}
		}
		for _, name := range []string{"source", "replica"} {
			if _, used := r.used.Load(name); !used {
				t.Errorf("the resolver's %s was never used", name)
			}
		}
	})
	return r
}

// plugShouting names tables and columns as no default would.
type plugShouting struct{ schema.NamingStrategy }

func (n plugShouting) TableName(s string) string     { return "T " + strings.ToUpper(s) }
func (n plugShouting) ColumnName(_, c string) string { return "C " + strings.ToUpper(c) }

// Whatever way the application opens GORM, everything works.
func TestEveryWayToOpen(t *testing.T) {
	t.Parallel()
	dsn := func(c postgres.Config) func(t *testing.T, url string) gorm.Dialector {
		return func(_ *testing.T, url string) gorm.Dialector { c := c; c.DSN = url; return postgres.New(c) }
	}
	for name, c := range map[string]struct {
		dialector func(t *testing.T, url string) gorm.Dialector
		config    gorm.Config
		before    func(t *testing.T, db *gorm.DB, url string) // before Use
		after     func(t *testing.T, db *gorm.DB, url string) // after Use
		schema    string
		key       string // of Config.Plugins; p.Name() is "own"
	}{
		"DSN":            {dialector: dsn(postgres.Config{})},
		"SimpleProtocol": {dialector: dsn(postgres.Config{PreferSimpleProtocol: true})},
		"WithoutQuoting": {dialector: dsn(postgres.Config{WithoutQuotingCheck: true})},
		"DriverName":     {dialector: dsn(postgres.Config{DriverName: "pgx"})},
		"DialectorValue": {dialector: func(_ *testing.T, url string) gorm.Dialector {
			return postgres.Dialector{Config: &postgres.Config{DSN: url}}
		}},
		"TimeZone": {dialector: func(_ *testing.T, url string) gorm.Dialector {
			return postgres.Open(url + "&TimeZone=Asia/Tokyo")
		}},
		"ExistingPool": {dialector: func(t *testing.T, url string) gorm.Dialector {
			t.Helper()
			pool, err := sql.Open("pgx", url)
			require.NoError(t, err)
			return postgres.New(postgres.Config{Conn: pool})
		}},
		"ExistingPoolOfOne": {dialector: func(t *testing.T, url string) gorm.Dialector {
			t.Helper()
			pool, err := sql.Open("pgx", url)
			require.NoError(t, err)
			pool.SetMaxOpenConns(1)
			return postgres.New(postgres.Config{Conn: pool})
		}},
		"PgxPool": {dialector: func(t *testing.T, url string) gorm.Dialector {
			t.Helper()
			pool, err := pgxpool.New(t.Context(), url)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			return postgres.New(postgres.Config{Conn: stdlib.OpenDBFromPool(pool)})
		}},
		"PrepareStmt": {config: gorm.Config{PrepareStmt: true}},
		"PreparedExistingPool": {
			config: gorm.Config{PrepareStmt: true},
			dialector: func(t *testing.T, url string) gorm.Dialector {
				t.Helper()
				pool, err := sql.Open("pgx", url)
				require.NoError(t, err)
				return postgres.New(postgres.Config{Conn: pool})
			},
		},
		"SkipDefaultTransaction": {config: gorm.Config{SkipDefaultTransaction: true}},
		"TablePrefix": {
			config: gorm.Config{NamingStrategy: schema.NamingStrategy{TablePrefix: "folder.", SingularTable: true}},
			schema: "folder",
		},
		"OwnNames":                       {config: gorm.Config{NamingStrategy: plugShouting{}}},
		"PluginInConfig":                 {key: "own"},
		"PluginInConfigUnderAnotherName": {key: "pubsub"},
		"PluginInConfigWithResolver": {
			key: "own",
			after: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
		"PluginInConfigUnderAnotherNameWithResolver": {
			key: "pubsub",
			after: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
		"ResolverBefore": {
			before: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
		"ResolverAfter": {
			after: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
		"PreparedResolverBefore": {
			config: gorm.Config{PrepareStmt: true},
			before: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
		"PreparedResolverAfter": {
			config: gorm.Config{PrepareStmt: true},
			after: func(t *testing.T, db *gorm.DB, url string) {
				t.Helper()
				require.NoError(t, db.Use(plugNewResolver(t, url)))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, r := plugURL(t), hooks.NewRegistry()
			x := plugExercise[PlugNote](r)
			p := plugNew(t, r)
			if c.dialector == nil {
				c.dialector = dsn(postgres.Config{})
			}
			switch c.key {
			case "":
			case "own":
				c.config.Plugins = map[string]gorm.Plugin{p.Name(): p}
			default:
				c.config.Plugins = map[string]gorm.Plugin{c.key: p}
			}
			db := plugOpen(t, c.dialector(t, url), &c.config)
			if c.schema != "" {
				plugExec(t, db, "CREATE SCHEMA "+c.schema)
			}
			if c.before != nil {
				c.before(t, db, url)
			}
			if c.key == "" {
				require.NoError(t, db.Use(p))
			}
			if c.after != nil {
				c.after(t, db, url)
			}
			x.run(t, db, p, func(text string) *PlugNote { return &PlugNote{Text: text} }, func(n *PlugNote) *PlugNote { return n })
		})
	}
}

func TestTableNameWithASchema(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	x := plugExercise[PlugFiled](r)
	db, p := plugUse(t, plugURL(t), r)
	plugExec(t, db, "CREATE SCHEMA filing")
	x.run(t, db, p, func(text string) *PlugFiled { return &PlugFiled{PlugNote{Text: text}} }, func(n *PlugFiled) *PlugNote { return &n.PlugNote })
}

// plugExercised is a registry with a model's declarations and a typed channel.
type plugExercised[M any] struct {
	rows  chan hooks.TriggerPayload[M]
	typed *listener.Channel[string]
	texts chan string
}

func plugExercise[M any](r *listener.Registry) plugExercised[M] {
	h, rows := plugCollect[M]()
	x := plugExercised[M]{rows: rows, texts: make(chan string, 100)}
	var model M
	hooks.On(&model, triggers.Insert|triggers.Update|triggers.Delete, h, hooks.In(r), hooks.Broadcast(), hooks.Name("rows"))
	x.typed = listener.NewChannel[string]("texts", listener.In(r), listener.Broadcast())
	x.typed.Listen(func(_ context.Context, _ *gorm.DB, v string) error { x.texts <- v; return nil })
	return x
}

// run goes once through all that the plugin does.
func (x plugExercised[M]) run(t *testing.T, db *gorm.DB, p *pubsub.Plugin, model func(string) *M, note func(*M) *PlugNote) {
	t.Helper()
	require.NoError(t, db.AutoMigrate(new(M)))
	require.NoError(t, p.Verify(t.Context()), "AutoMigrate must install the triggers")
	require.NoError(t, p.Migrate(t.Context()))
	require.True(t, db.Migrator().HasTable(new(M)))
	channels, err := p.Channels()
	require.NoError(t, err)
	require.Len(t, channels, 2)
	stop := pubsubtest.Listen(t, db)

	// A row in and out, and one that never was.
	m := model("first")
	require.NoError(t, db.Create(m).Error)
	got := plugNext(t, x.rows)
	require.Equal(t, triggers.Insert, got.Op)
	require.Nil(t, got.Old)
	require.Equal(t, *m, *got.New)
	errUndo := errors.New("undo")
	require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, tx.Create(model("never")).Error)
		require.NoError(t, x.typed.Notify(t.Context(), tx, "never"))
		return errUndo
	}), errUndo)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, tx.Model(m).Update("Text", "second").Error)
		require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, tx.Create(model("nested")).Error)
			require.NoError(t, x.typed.Notify(t.Context(), tx, "nested"))
			return errUndo
		}), errUndo)
		return x.typed.Notify(t.Context(), tx, "committed")
	}))
	got = plugNext(t, x.rows)
	require.Equal(t, triggers.Update, got.Op)
	require.Equal(t, "first", note(got.Old).Text)
	require.Equal(t, "second", note(got.New).Text)
	require.True(t, got.Changed("Text"))
	require.False(t, got.Changed("ID"))
	require.Equal(t, "committed", plugNext(t, x.texts))

	// What is too large for a notification.
	large := strings.Repeat("ä large text ", 2_000)
	require.NoError(t, x.typed.Notify(t.Context(), db, large))
	require.Equal(t, large, plugNext(t, x.texts))
	big := model(large)
	require.NoError(t, db.Create(big).Error)
	require.Equal(t, large, note(plugNext(t, x.rows).New).Text)

	require.NoError(t, db.Delete(m).Error)
	got = plugNext(t, x.rows)
	require.Equal(t, triggers.Delete, got.Op)
	require.Equal(t, "second", note(got.Old).Text)
	require.Nil(t, got.New)

	// Reading, and who listens.
	var found M
	require.NoError(t, db.First(&found, note(big).ID).Error)
	require.Equal(t, *big, found)
	for _, channel := range channels {
		sessions, err := p.Listeners(t.Context(), channel)
		require.NoError(t, err)
		require.Len(t, sessions, 1, channel)
	}
	require.NoError(t, p.Health().Err())
	stop()
	require.Error(t, p.Health().Err())
	script, err := p.SQL(t.Context())
	require.NoError(t, err)
	require.Empty(t, script)
}

// plugTracer records the statements of a pool.
type plugTracer struct {
	mu         sync.Mutex
	statements []string
}

func (r *plugTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statements = append(r.statements, data.SQL)
	return ctx
}

func (r *plugTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns the statements since the last call.
func (r *plugTracer) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.statements
	r.statements = nil
	return all
}

// plugTraced returns a dialector whose statements are recorded.
func plugTraced(url string, tracer *plugTracer) gorm.Dialector {
	return postgres.New(postgres.Config{DSN: url, OptionOpenDB: []stdlib.OptionOpenDB{
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error { c.Tracer = tracer; return nil }),
	}})
}

func TestUseStartsNothingAndAsksNothing(t *testing.T) {
	t.Parallel()
	r, tracer := hooks.NewRegistry(), &plugTracer{}
	hooks.OnInsert(&PlugNote{}, plugIgnore[PlugNote], hooks.In(r), hooks.Broadcast())
	db := plugOpen(t, plugTraced(plugURL(t), tracer), nil)
	tracer.take()
	p := plugNew(t, r)
	require.NoError(t, db.Use(p))
	require.Empty(t, tracer.take())
	require.NotNil(t, p.Ready())
	select {
	case <-p.Ready():
		require.Fail(t, "ready before Listen")
	default:
	}

	// The hooks of the application's connections hold for the one that listens.
	require.NoError(t, db.AutoMigrate(&PlugNote{}))
	tracer.take()
	pubsubtest.Listen(t, db)
	require.Contains(t, strings.ToUpper(strings.Join(tracer.take(), "\n")), "PG_NOTIFY", "the probe goes through the pool")
}

func TestWrappedDialector(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, g gorm.Config) (*gorm.DB, chan hooks.TriggerPayload[PlugNote]) {
		t.Helper()
		r := hooks.NewRegistry()
		h, got := plugCollect[PlugNote]()
		hooks.OnInsert(&PlugNote{}, h, hooks.In(r), hooks.Broadcast())
		db := plugOpen(t, postgres.Open(plugURL(t)), &g)
		require.NoError(t, db.Use(plugNew(t, r)))
		require.NoError(t, db.AutoMigrate(&PlugNote{}))
		return db, got
	}
	t.Run("Unwrap", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t, gorm.Config{})
		require.Equal(t, "postgres", db.Name())
		wrapped, ok := db.Dialector.(*pubsub.Dialector)
		require.True(t, ok)
		inner, ok := wrapped.Unwrap().(*postgres.Dialector)
		require.True(t, ok)
		require.NotEmpty(t, inner.DSN)
		_, ok = db.Dialector.(gorm.SavePointerDialectorInterface)
		require.True(t, ok)
		_, ok = db.Dialector.(gorm.ErrorTranslator)
		require.True(t, ok)
		_, ok = db.Migrator().(pubsub.Migrator)
		require.True(t, ok)
	})
	t.Run("NestedTransactions", func(t *testing.T) {
		t.Parallel()
		db, got := open(t, gorm.Config{})
		pubsubtest.Listen(t, db)
		errUndo := errors.New("undo")
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, tx.Create(&PlugNote{Text: "outer"}).Error)
			require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, tx.Create(&PlugNote{Text: "undone"}).Error)
				return errUndo
			}), errUndo)
			require.NoError(t, tx.SavePoint("here").Error)
			require.NoError(t, tx.Create(&PlugNote{Text: "undone, too"}).Error)
			require.NoError(t, tx.RollbackTo("here").Error)
			return tx.Create(&PlugNote{Text: "after"}).Error
		}))
		require.Equal(t, "outer", plugNext(t, got).New.Text)
		require.Equal(t, "after", plugNext(t, got).New.Text)
		require.Equal(t, int64(2), plugQuery[int64](t, db, "SELECT count(*) FROM plug_notes"))
	})
	t.Run("TranslateError", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t, gorm.Config{TranslateError: true})
		code := "once"
		require.NoError(t, db.Create(&PlugNote{Code: &code}).Error)
		require.ErrorIs(t, db.Create(&PlugNote{Code: &code}).Error, gorm.ErrDuplicatedKey)
		plain, _ := open(t, gorm.Config{})
		require.NoError(t, plain.Create(&PlugNote{Code: &code}).Error)
		err := plain.Create(&PlugNote{Code: &code}).Error
		require.Error(t, err)
		require.NotErrorIs(t, err, gorm.ErrDuplicatedKey)
	})
	t.Run("Migrator", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t, gorm.Config{})
		m := db.Migrator()
		require.True(t, m.HasTable(&PlugNote{}))
		require.True(t, m.HasTable("plug_notes"))
		require.False(t, m.HasTable("plug_nothing"))
		require.True(t, m.HasColumn(&PlugNote{}, "Text"))
		require.True(t, m.HasIndex(&PlugNote{}, "Code"))
		require.NotEmpty(t, m.CurrentDatabase())
		types, err := m.ColumnTypes(&PlugNote{})
		require.NoError(t, err)
		require.Len(t, types, 3)
		indexes, err := m.GetIndexes(&PlugNote{})
		require.NoError(t, err)
		require.Len(t, indexes, 1)
		tables, err := m.GetTables()
		require.NoError(t, err)
		require.Contains(t, tables, "plug_notes")
		require.NoError(t, m.CreateView("plug_view", gorm.ViewOption{Query: db.Model(&PlugNote{}).Select("text")}))
		require.NoError(t, m.DropView("plug_view"))
		require.NoError(t, m.DropIndex(&PlugNote{}, "Code"))
		require.NoError(t, m.CreateIndex(&PlugNote{}, "Code"))
		require.NoError(t, m.RenameIndex(&PlugNote{}, "idx_plug_notes_code", "idx_plug_notes_other"))
		require.NoError(t, m.AlterColumn(&PlugNote{}, "Text"))
		require.NoError(t, m.DropColumn(&PlugNote{}, "Code"))
		require.NoError(t, m.AddColumn(&PlugNote{}, "Code"))
		require.NoError(t, m.DropTable(&PlugNote{}))
		require.False(t, m.HasTable(&PlugNote{}))
	})
	t.Run("Clauses", func(t *testing.T) {
		t.Parallel()
		db, _ := open(t, gorm.Config{})
		code := "one"
		note := PlugNote{Text: "a", Code: &code}
		require.NoError(t, db.Create(&note).Error)
		again := PlugNote{Text: "b", Code: &code}
		require.NoError(t, db.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "code"}}, DoUpdates: clause.AssignmentColumns([]string{"text"}),
		}, clause.Returning{}).Create(&again).Error)
		require.Equal(t, note.ID, again.ID)
		require.Contains(t, db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.First(&PlugNote{}, 5) }), `"plug_notes"."id" = 5`)
	})
}

// A session is a copy of the configuration: one made before Use has no wrapped
// dialector, but its writes and its plugins are the database's.
func TestSessionsMadeBeforeUse(t *testing.T) {
	t.Parallel()
	for name, session := range map[string]*gorm.Session{
		"Plain": {}, "NewDB": {NewDB: true}, "Prepared": {PrepareStmt: true}, "SkipDefaultTransaction": {SkipDefaultTransaction: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[PlugNote]()
			hooks.OnInsert(&PlugNote{}, h, hooks.In(r), hooks.Broadcast())
			texts := make(chan string, 10)
			typed := listener.NewChannel[string]("texts", listener.In(r), listener.Broadcast())
			typed.Listen(func(_ context.Context, _ *gorm.DB, v string) error { texts <- v; return nil })

			db := plugOpen(t, postgres.Open(plugURL(t)), nil)
			early := db.Session(session)
			require.NoError(t, db.Use(plugNew(t, r)))
			require.NoError(t, db.AutoMigrate(&PlugNote{}))
			pubsubtest.Listen(t, db)
			require.NoError(t, early.Create(&PlugNote{Text: "early"}).Error)
			require.Equal(t, "early", plugNext(t, got).New.Text)
			require.NoError(t, typed.Notify(t.Context(), early, "early"))
			require.Equal(t, "early", plugNext(t, texts))
			require.NoError(t, early.AutoMigrate(&PlugNote{}))
			require.NoError(t, pubsubtest.Of(t, db).Verify(t.Context()))
		})
	}
}

func TestHandlersSession(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	type seen struct {
		sameContext, transaction, deadline bool
		plugins                            int
		err                                error
	}
	got := make(chan seen, 10)
	hooks.OnInsert(&PlugNote{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[PlugNote]) error {
		_, transaction := tx.Statement.ConnPool.(gorm.TxCommitter)
		_, deadline := ctx.Deadline()
		got <- seen{
			sameContext: tx.Statement.Context == ctx, transaction: transaction, deadline: deadline, plugins: len(tx.Plugins),
			// Twice: the session must not keep the first one's conditions.
			err: errors.Join(tx.Where("id = ?", p.New.ID).First(&PlugNote{}).Error, tx.First(&PlugNote{}, p.New.ID).Error),
		}
		return nil
	}, hooks.In(r), hooks.Broadcast(), hooks.Timeout(time.Minute))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&PlugNote{}))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&[]PlugNote{{Text: "a"}, {Text: "b"}}).Error)
	for range 2 {
		require.Equal(t, seen{sameContext: true, deadline: true, plugins: 1}, plugNext(t, got))
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	hooks.OnInsert(&PlugNote{}, plugIgnore[PlugNote], hooks.In(r), hooks.Broadcast(), hooks.Channel("known"))
	url := plugURL(t)
	db, p := plugUse(t, url, r)

	// Nothing of ours yet, and then no table.
	require.ErrorIs(t, p.Listen(t.Context()), triggers.ErrNotMigrated)
	require.ErrorIs(t, p.Migrate(t.Context()), triggers.ErrNoTable)
	require.ErrorIs(t, p.Listen(t.Context()), triggers.ErrNoTable)
	require.NoError(t, db.AutoMigrate(&PlugNote{}))
	err := p.Listen(t.Context(), "known", "unknown")
	require.ErrorIs(t, err, listener.ErrUnknownChannel)
	require.ErrorContains(t, err, `"unknown"`)
	require.ErrorContains(t, err, "known are: known")

	pubsubtest.Listen(t, db)
	require.ErrorIs(t, p.Listen(t.Context()), listener.ErrListening)

	// A context that has ended is no failure.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, q := plugUse(t, url, r)
	require.NoError(t, q.Listen(ended))

	// Another database, and nobody there.
	_, deaf := plugUse(t, url, r, pubsub.ListenDSN(strings.Replace(url, "postgres://", "postgres://nobody-of-that-name:x@nowhere.invalid/", 1)))
	require.Error(t, deaf.Listen(t.Context()))
}
