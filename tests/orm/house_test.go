// Package orm has the conformance suite of the hooks after a transaction's end: what
// GORM can do, on Postgres and SQLite, with its caches and with a resolver.
package orm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/glebarez/sqlite"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/plugin/dbresolver"

	"github.com/gorm-pubsub/pubsub/hooks"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// writer and book are the models. A writer with a recorder in the context registers
// a hook when it is saved.
type writer struct {
	ID    int64
	Name  string `gorm:"uniqueIndex"`
	Books []book
}

type book struct {
	ID       int64
	WriterID int64
	Title    string
}

type recorderKey struct{}

// AfterSave is GORM's method.
func (w *writer) AfterSave(tx *gorm.DB) error { return saved(tx, "writer "+w.Name) }

// AfterSave is GORM's method.
func (b *book) AfterSave(tx *gorm.DB) error { return saved(tx, "book "+b.Title) }

func saved(tx *gorm.DB, what string) error {
	r, ok := tx.Statement.Context.Value(recorderKey{}).(*recorder)
	if !ok {
		return nil
	}
	if what == "writer refused" {
		return errors.Join(hooks.AfterCommit(tx, r.note(what)), errors.New("refused"))
	}
	return errors.Join(hooks.AfterCommit(tx, r.note(what)), hooks.AfterRollback(tx, r.note("not "+what)))
}

// recorder has what was called, in order.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) note(what string) func(context.Context) {
	return func(context.Context) { r.add(what) }
}

func (r *recorder) add(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, what)
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// bench is a database to try a case on.
type bench struct {
	*testing.T
	db       *gorm.DB
	mode     mode
	postgres bool
	recorder
}

// in registers both hooks of a name.
func (b *bench) in(tx *gorm.DB, name string) {
	b.Helper()
	require.NoError(b, hooks.AfterCommit(tx, b.note(name)))
	require.NoError(b, hooks.AfterRollback(tx, b.note("not "+name)))
}

// got fails unless exactly these were called.
func (b *bench) got(want ...string) {
	b.Helper()
	got := b.take()
	if len(want) == 0 {
		require.Empty(b, got)
		return
	}
	require.Equal(b, want, got)
}

// recording returns a session whose models register hooks.
func (b *bench) recording() *gorm.DB {
	return b.db.WithContext(context.WithValue(b.Context(), recorderKey{}, &b.recorder))
}

func (b *bench) names() []string {
	b.Helper()
	var names []string
	require.NoError(b, b.db.Model(&writer{}).Order("name").Pluck("name", &names).Error)
	return names
}

// mode is how a database is opened.
type mode struct {
	name             string
	config           gorm.Config
	resolver         int // before the plugin when negative, after it when positive
	skipsTransaction bool
}

var modes = []mode{
	{name: "Plain"},
	{name: "PrepareStmt", config: gorm.Config{PrepareStmt: true}},
	{name: "SkipDefaultTransaction", config: gorm.Config{SkipDefaultTransaction: true}, skipsTransaction: true},
	{name: "ResolverBefore", resolver: -1},
	{name: "ResolverAfter", resolver: 1},
	{name: "ResolverPrepared", config: gorm.Config{PrepareStmt: true}, resolver: 1},
}

// each runs the case on a database of each kind and mode.
func each(t *testing.T, run func(b *bench)) {
	t.Helper()
	for _, m := range modes {
		t.Run("Postgres_"+m.name, func(t *testing.T) {
			t.Parallel()
			dsn := newPostgres(t)
			run(openWith(t, m, true, func() gorm.Dialector { return postgres.Open(dsn) }))
		})
		t.Run("SQLite_"+m.name, func(t *testing.T) {
			t.Parallel()
			// In memory; but a resolver's pools share a file.
			place := fmt.Sprintf("file:%s?mode=memory&cache=shared&", strings.ReplaceAll(t.Name(), "/", "_"))
			if m.resolver != 0 {
				place = filepath.Join(t.TempDir(), "db") + "?_txlock=immediate&"
			}
			run(openWith(t, m, false, func() gorm.Dialector {
				return sqlite.Open(place + "_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)")
			}))
		})
	}
}

// onPostgres runs the case on Postgres in each mode.
func onPostgres(t *testing.T, run func(b *bench)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dsn := newPostgres(t)
			run(openWith(t, m, true, func() gorm.Dialector { return postgres.Open(dsn) }))
		})
	}
}

func newPostgres(t *testing.T) string {
	t.Helper()
	db := pubsubtest.Open(t, pubsubtest.Plugin(pubsub.New(pubsub.WithRegistry(hooks.NewRegistry()))))
	d, ok := db.Dialector.(*pubsub.Dialector)
	require.True(t, ok)
	return d.DSN
}

func openWith(t *testing.T, m mode, isPostgres bool, dialector func() gorm.Dialector) *bench {
	t.Helper()
	config := m.config
	config.Logger = logger.Discard
	config.TranslateError = true
	db, err := gorm.Open(dialector(), &config)
	require.NoError(t, err)
	var plugin gorm.Plugin = hooks.Transactions{}
	if isPostgres {
		plugin = pubsub.New(pubsub.WithRegistry(hooks.NewRegistry()))
	}
	if m.resolver < 0 {
		resolve(t, db, dialector)
	}
	require.NoError(t, db.Use(plugin))
	if m.resolver > 0 {
		resolve(t, db, dialector)
	}
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	require.NoError(t, db.AutoMigrate(&writer{}, &book{}))
	return &bench{T: t, db: db, mode: m, postgres: isPostgres}
}

// resolve has reads and writes go to pools of their own.
func resolve(t *testing.T, db *gorm.DB, dialector func() gorm.Dialector) {
	t.Helper()
	require.NoError(t, db.Use(dbresolver.Register(dbresolver.Config{
		Sources: []gorm.Dialector{dialector()}, Replicas: []gorm.Dialector{dialector()},
	})))
	t.Cleanup(func() {
		resolver, ok := db.Plugins["gorm:db_resolver"].(*dbresolver.DBResolver)
		if ok {
			_ = resolver.Call(func(pool gorm.ConnPool) error {
				if c, ok := pool.(interface{ Close() error }); ok {
					return c.Close()
				}
				return nil
			})
		}
	})
}

var errNo = errors.New("no")

func numbered(name string, n int) []writer {
	all := make([]writer, n)
	for i := range all {
		all[i].Name = fmt.Sprint(name, i)
	}
	return all
}

func repeated(name string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint("writer ", name, i))
	}
	return slices.Clip(all)
}
