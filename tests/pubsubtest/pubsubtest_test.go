package pubsubtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 15 * time.Second

type Guest struct {
	ID   int64
	Name string
}

type wrongColumn struct {
	ID   int64
	Name string `gorm:"type:no_such_type"`
}

// declare returns a registry and what its function was told.
func declare() (*listener.Registry, chan string) {
	r, got := hooks.NewRegistry(), make(chan string, 100)
	hooks.OnInsert(&Guest{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Guest]) error {
		got <- p.New.Name
		return nil
	}, hooks.In(r), hooks.Broadcast())
	return r, got
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		require.FailNow(t, "nothing came")
		return ""
	}
}

func scalar[T any](t *testing.T, db *gorm.DB, query string) (v T) {
	t.Helper()
	require.NoError(t, db.Raw(query).Row().Scan(&v))
	return v
}

// fake is a test that may fail without failing this one.
type fake struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (f *fake) Helper() {}

func (f *fake) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }

func (f *fake) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fake) Error(args ...any) { f.Errorf("%s", fmt.Sprint(args...)) }

func (f *fake) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func (f *fake) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *fake) FailNow() { f.Fatalf("FailNow") }

// try runs a test of its own, with its clean-up, and returns how it failed.
func try(t *testing.T, test func(*fake)) string {
	t.Helper()
	f, done := &fake{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.failures, "\n")
}

// The example of the package's comment.
func TestWelcome(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	hooks.OnInsert(&Guest{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[Guest]) error {
		if p.New.Name != "Ada" {
			return nil
		}
		return tx.Create(&Guest{Name: "Ada's company"}).Error
	}, hooks.In(r), hooks.Broadcast())
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&Guest{Name: "Ada"}).Error)
	require.Eventually(t, func() bool {
		var n int64
		return db.Model(&Guest{}).Where("name = ?", "Ada's company").Count(&n).Error == nil && n == 1
	}, limit, time.Millisecond)
}

func TestEachOpenIsADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	r, got := declare()
	one := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	two := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	require.NotEqual(t, scalar[string](t, one, "SELECT current_database()"), scalar[string](t, two, "SELECT current_database()"))
	pubsubtest.Listen(t, one)
	require.NoError(t, two.Create(&Guest{Name: "of two"}).Error)
	require.NoError(t, one.Create(&Guest{Name: "of one"}).Error)
	require.Equal(t, "of one", next(t, got))
	require.Equal(t, int64(1), scalar[int64](t, one, "SELECT count(*) FROM guests"))
}

func TestOpenIsEmptyAndUsesThePlugin(t *testing.T) {
	t.Parallel()
	r, _ := declare()
	db := pubsubtest.Open(t, pubsubtest.Registry(r))
	require.Zero(t, scalar[int64](t, db, "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"))
	channels, err := pubsubtest.Of(t, db).Channels()
	require.NoError(t, err)
	require.Equal(t, []string{"guests_insert"}, channels)
	require.NoError(t, db.AutoMigrate(&Guest{}))
	require.NoError(t, pubsubtest.Of(t, db).Verify(t.Context()))
}

func TestModelsHaveTheirTriggers(t *testing.T) {
	t.Parallel()
	r, _ := declare()
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	require.NoError(t, pubsubtest.Of(t, db).Verify(t.Context()))
}

func TestTheDefaultRegistryIsTheDefault(t *testing.T) {
	t.Parallel()
	db := pubsubtest.Open(t)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	require.ErrorIs(t, pubsubtest.Of(t, db).Listen(t.Context()), listener.ErrNothingDeclared)
}

func TestGivenPlugin(t *testing.T) {
	t.Parallel()
	r, _ := declare()
	p := pubsub.New(pubsub.WithRegistry(r), pubsub.Schema("mine"))
	db := pubsubtest.Open(t, pubsubtest.Plugin(p), pubsubtest.Models(&Guest{}))
	require.Same(t, p, pubsubtest.Of(t, db))
	require.Equal(t, int64(1), scalar[int64](t, db, "SELECT count(*) FROM pg_namespace WHERE nspname = 'mine'"))
}

func TestGivenConfig(t *testing.T) {
	t.Parallel()
	db := pubsubtest.Open(t, pubsubtest.Config(&gorm.Config{
		Logger: logger.Discard, PrepareStmt: true, PrepareStmtTTL: 10 * 365 * 24 * time.Hour, // for which GORM starts no goroutine
	}))
	require.True(t, db.PrepareStmt)
	_, prepared := db.ConnPool.(*gorm.PreparedStmtDB)
	require.True(t, prepared)
}

func TestGivenServer(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	var name string
	require.Empty(t, try(t, func(t *fake) {
		for range 2 { // the second one takes the server that was opened first
			db := pubsubtest.Open(t, pubsubtest.DSN(server.URL()), pubsubtest.Registry(hooks.NewRegistry()))
			name = db.Migrator().CurrentDatabase()
		}
	}))
	require.NotEmpty(t, name)
	require.False(t, exists(t, name))
	require.Contains(t, try(t, func(t *fake) {
		pubsubtest.Open(t, pubsubtest.DSN("postgres://nobody@localhost:1/none?connect_timeout=1"))
	}), "Postgres")
	require.Contains(t, try(t, func(t *fake) { pubsubtest.Open(t, pubsubtest.DSN(server.URL()), pubsubtest.Docker("17")) }), "exclude")
}

// exists reports whether the shared server has the database.
func exists(t *testing.T, database string) bool {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	db, err := gorm.Open(postgres.Open(server.URL()), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	defer pool.Close()
	return scalar[bool](t, db, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = '"+database+"')")
}

func TestTheDatabaseEndsWithTheTest(t *testing.T) {
	t.Parallel()
	r, _ := declare()
	var name string
	var db *gorm.DB
	t.Run("A test", func(t *testing.T) {
		db = pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
		name = db.Migrator().CurrentDatabase()
		pubsubtest.Listen(t, db)
		require.True(t, exists(t, name))
		require.NoError(t, pubsubtest.Of(t, db).Health().Err())
	})
	require.False(t, exists(t, name))
	pool, err := db.DB()
	require.NoError(t, err)
	require.Error(t, pool.PingContext(t.Context()), "the pool must be closed")
	require.Error(t, pubsubtest.Of(t, db).Health().Err(), "the listener must be stopped")
}

// A test that leaves a transaction open still gives its database back.
func TestTheDatabaseEndsDespiteOpenSessions(t *testing.T) {
	t.Parallel()
	var name string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.Empty(t, try(t, func(t *fake) {
		db := pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()))
		name = db.Migrator().CurrentDatabase()
		db.WithContext(ctx).Begin()
	}))
	require.False(t, exists(t, name))
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	wrong, _ := declare()
	hooks.OnDelete(&Guest{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[Guest]) error { return nil },
		hooks.In(wrong), hooks.Name("wrong"), hooks.Channel("guests_insert"))
	require.Contains(t, try(t, func(t *fake) { pubsubtest.Open(t, pubsubtest.Registry(wrong)) }), "declared otherwise")
	require.Contains(t, try(t, func(t *fake) {
		pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()), pubsubtest.Models(&wrongColumn{}))
	}), "migrate the models")
}

func TestOf(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	plain, err := gorm.Open(postgres.Open(server.URL()), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := plain.DB()
	require.NoError(t, err)
	defer pool.Close()
	require.Contains(t, try(t, func(t *fake) { pubsubtest.Of(t, plain) }), "no plugin")

	db := pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()))
	require.Same(t, pubsubtest.Of(t, db), pubsubtest.Of(t, db.Session(&gorm.Session{NewDB: true})))
}

func TestListenReceivesWhenItReturns(t *testing.T) {
	t.Parallel()
	r, got := declare()
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	stop := pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&Guest{Name: "first"}).Error)
	require.Equal(t, "first", next(t, got))
	stop()
	require.Error(t, pubsubtest.Of(t, db).Health().Err(), "stop waits for the end")
	stop() // again

	// Nobody listens now.
	require.NoError(t, db.Create(&Guest{Name: "unheard"}).Error)

	// A second time, Listen returns again when it receives and no sooner.
	stop = pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&Guest{Name: "second"}).Error)
	require.Equal(t, "second", next(t, got))
	stop()
}

func TestListenOnNamedChannels(t *testing.T) {
	t.Parallel()
	r, got := declare()
	updates := make(chan string, 100)
	hooks.OnUpdate(&Guest{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Guest]) error {
		updates <- p.New.Name
		return nil
	}, hooks.In(r), hooks.Broadcast())
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	pubsubtest.Listen(t, db, "guests_update")
	guest := Guest{Name: "a"}
	require.NoError(t, db.Create(&guest).Error)
	require.NoError(t, db.Model(&guest).Update("name", "b").Error)
	require.Equal(t, "b", next(t, updates))
	require.Empty(t, got)
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	r, _ := declare()
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Guest{}))
	began := time.Now()
	require.Contains(t, try(t, func(t *fake) { pubsubtest.Listen(t, db, "nope") }), "unknown channel")
	require.Less(t, time.Since(began), limit)

	// Also when it has listened before.
	pubsubtest.Listen(t, db)()
	require.Contains(t, try(t, func(t *fake) { pubsubtest.Listen(t, db, "nope") }), "unknown channel")
}

// What goes wrong while the test runs fails it, too.
func TestListenFailsLater(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	running, release := make(chan struct{}), make(chan struct{})
	hooks.OnInsert(&Guest{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[Guest]) error {
		close(running)
		<-release // whatever its context
		return errors.New("too late")
	}, hooks.In(r), hooks.Broadcast())
	p := pubsub.New(pubsub.WithRegistry(r), pubsub.Grace(time.Millisecond))
	db := pubsubtest.Open(t, pubsubtest.Plugin(p), pubsubtest.Models(&Guest{}))
	failures := try(t, func(t *fake) {
		pubsubtest.Listen(t, db)
		require.NoError(t, db.Create(&Guest{Name: "a"}).Error)
		<-running
	})
	close(release)
	require.Contains(t, failures, listener.ErrStillRunning.Error())
}

// Without DATABASE_URL, binaries or Docker there is nothing to test with: that
// is told by pgserver's own tests. Here: the variable decides.
func TestTheServerIsTheProcesss(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	if url := os.Getenv("DATABASE_URL"); url != "" {
		require.Equal(t, url, server.URL())
	}
	name := pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry())).Migrator().CurrentDatabase()
	require.True(t, exists(t, name), "Open must use the process's one server")
}
