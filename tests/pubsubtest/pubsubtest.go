// Package pubsubtest gives an application's test suite a real Postgres with
// the plugin in it.
//
//	func TestWelcomePost(t *testing.T) {
//		db := pubsubtest.Open(t, pubsubtest.Models(&Author{}, &Post{}))
//		require.NoError(t, db.Create(&Author{Name: "Ada"}).Error)
//		pubsubtest.Drain(t, db) // runs the durable listeners, now
//		require.NoError(t, db.First(&Post{}).Error)
//	}
//
// The server comes from DATABASE_URL if that is set, else from Postgres
// binaries on the machine, else from Docker, else from a download; one server
// serves all tests of a process and ends with it. Each Open makes a database
// of its own in it, so that tests run in parallel without seeing each other's
// rows or notifications.
package pubsubtest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

// Option configures Open.
type Option func(*config)

type config struct {
	docker, dsn string
	registry    *listener.Registry
	plugin      *pubsub.Plugin
	models      []any
	gorm        *gorm.Config
}

// Docker runs the test on the image postgres:<tag> in Docker, such as "17".
// The test fails where no Docker engine answers.
func Docker(tag string) Option { return func(c *config) { c.docker = tag } }

// DSN runs the test in a new database of the server at this address. The role
// must be allowed to create databases.
func DSN(url string) Option { return func(c *config) { c.dsn = url } }

// Registry takes the declarations from r instead of the default registry.
func Registry(r *listener.Registry) Option { return func(c *config) { c.registry = r } }

// Plugin installs p instead of a plugin with its defaults.
func Plugin(p *pubsub.Plugin) Option { return func(c *config) { c.plugin = p } }

// Models are migrated with AutoMigrate, which installs their triggers.
func Models(models ...any) Option { return func(c *config) { c.models = models } }

// Config opens GORM with this configuration. Defaults to one that logs nothing.
func Config(g *gorm.Config) Option { return func(c *config) { c.gorm = g } }

// limit bounds what a test waits for a server, a database and a listener.
const limit = 2 * time.Minute

// Open returns a *gorm.DB on a new, empty database with the plugin in use. The
// database is dropped, and the connections are closed, when the test ends. It
// fails the test when it can't.
func Open(t testing.TB, opts ...Option) *gorm.DB {
	t.Helper()
	var c config
	for _, opt := range opts {
		opt(&c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	server, err := c.server(ctx)
	if err != nil {
		t.Fatalf("pubsubtest: no Postgres: %v", err)
	}
	url, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		t.Fatalf("pubsubtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := drop(ctx); err != nil {
			t.Errorf("pubsubtest: drop the database: %v", err)
		}
	})
	if c.gorm == nil {
		c.gorm = &gorm.Config{Logger: logger.Discard}
	}
	db, err := gorm.Open(postgres.Open(url), c.gorm)
	if err != nil {
		t.Fatalf("pubsubtest: open the database: %v", err)
	}
	t.Cleanup(func() {
		if pool, err := db.DB(); err == nil {
			_ = pool.Close()
		}
	})
	if err := db.Use(c.thePlugin(t)); err != nil {
		t.Fatalf("pubsubtest: use the plugin: %v", err)
	}
	if len(c.models) > 0 {
		if err := db.AutoMigrate(c.models...); err != nil {
			t.Fatalf("pubsubtest: migrate the models: %v", err)
		}
	}
	return db
}

func (c config) thePlugin(t testing.TB) *pubsub.Plugin {
	t.Helper()
	if c.plugin != nil {
		return c.plugin
	}
	opts := []pubsub.Option{pubsub.Logger(slog.New(slog.NewTextHandler(t.Output(), nil)))}
	if c.registry != nil {
		opts = append(opts, pubsub.WithRegistry(c.registry))
	}
	return pubsub.New(opts...)
}

// started is a server of the process, by what was asked for.
type started struct {
	once   sync.Once
	server *pgserver.Server
	err    error
}

var byDocker, byDSN sync.Map // of *started

func (c config) server(ctx context.Context) (*pgserver.Server, error) {
	switch {
	case c.docker != "" && c.dsn != "":
		return nil, errors.New("Docker and DSN exclude each other")
	case c.docker != "":
		return start(ctx, &byDocker, c.docker, pgserver.Docker(c.docker))
	case c.dsn != "":
		return start(ctx, &byDSN, c.dsn, pgserver.DSN(c.dsn))
	}
	return pgserver.Shared(ctx)
}

func start(ctx context.Context, among *sync.Map, key string, opt pgserver.Option) (*pgserver.Server, error) {
	value, _ := among.LoadOrStore(key, &started{})
	s := value.(*started) //nolint:forcetypeassert // nothing else is stored
	s.once.Do(func() { s.server, s.err = pgserver.Start(ctx, opt) })
	return s.server, s.err
}

// Of returns the plugin that db uses. It fails the test when there is none.
func Of(t testing.TB, db *gorm.DB) *pubsub.Plugin {
	t.Helper()
	for _, plugin := range db.Plugins {
		if p, ok := plugin.(*pubsub.Plugin); ok {
			return p
		}
	}
	t.Fatal("pubsubtest: the *gorm.DB has no plugin")
	return nil
}

// Listen runs the plugin's Listen in the background, on the named channels or
// on all, and returns once it receives. It is stopped when the test ends, or
// when stop is called, which waits for it. A failure of Listen fails the test.
func Listen(t testing.TB, db *gorm.DB, channels ...string) (stop func()) {
	t.Helper()
	p := Of(t, db)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Listen(ctx, channels...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("pubsubtest: listen: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-p.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("pubsubtest: listen: %v", err)
	case <-time.After(limit):
		t.Fatalf("pubsubtest: listen: not ready within %s", limit)
	}
	return stop
}

// Drain handles, now and in the test's goroutine, what waits in the durable queue,
// and what that causes. It fails the test when a function returns an error or
// panics. A function may use the test's require.
func Drain(t testing.TB, db *gorm.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := Of(t, db).Drain(ctx); err != nil {
		t.Fatalf("pubsubtest: drain: %v", err)
	}
}

// Events returns what waits in the durable queue, in the order in which it was
// stored.
func Events(t testing.TB, db *gorm.DB) []listener.StoredEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	queue, err := Of(t, db).Queue()
	if err != nil {
		t.Fatalf("pubsubtest: %v", err)
	}
	events, err := queue.Events(ctx, "", math.MaxInt32)
	if err != nil {
		t.Fatalf("pubsubtest: %v", err)
	}
	return events
}
