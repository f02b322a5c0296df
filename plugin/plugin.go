package pubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/plain"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Plugin is the gorm.Plugin. Make it with New and give it to db.Use. Its
// methods may be called from several goroutines.
type Plugin struct {
	registry  *listener.Registry
	installer triggers.Installer
	logger    *slog.Logger
	dial      listener.Dial
	grace     time.Duration
	onGap     func(context.Context, listener.Gap)
	pollOnly  bool
	keepDead  time.Duration

	mu       sync.Mutex
	db       *gorm.DB
	listener *listener.Listener
}

var (
	_ gorm.Plugin   = (*Plugin)(nil)
	_ listener.Host = (*Plugin)(nil)
)

// New returns a plugin. It starts nothing.
func New(opts ...Option) *Plugin {
	p := &Plugin{registry: listener.DefaultRegistry, logger: slog.Default()}
	for _, opt := range opts {
		opt(p)
	}
	if p.installer.Schema == "" {
		p.installer.Schema = triggers.DefaultSchema
	}
	return p
}

// Name is for GORM, which calls it in db.Use. Each plugin has a name of its
// own, since GORM refuses a second plugin of one name without saying why.
func (p *Plugin) Name() string { return fmt.Sprintf("pubsub %p", p) }

// PubSubSchema returns the schema of the plugin's tables and functions.
func (p *Plugin) PubSubSchema() string { return p.installer.Schema }

// Initialize is for GORM, which calls it in db.Use. It checks the declarations
// against the models and returns everything that is wrong with them, and wraps
// the dialector so that AutoMigrate and CreateTable install the triggers of
// what they migrate. It doesn't touch the database, and starts nothing.
func (p *Plugin) Initialize(db *gorm.DB) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.db != nil {
		return p.initializeAgain(db)
	}
	if name := db.Name(); name != "postgres" {
		return fmt.Errorf("%w, but this *gorm.DB is %q", ErrNotPostgres, name)
	}
	for _, other := range db.Plugins {
		if host, ok := other.(listener.Host); ok && host != listener.Host(p) {
			return fmt.Errorf("%w: this *gorm.DB has one; use that, with all declarations in its registry", ErrTwoPlugins)
		}
	}
	if p.registry == nil {
		return errors.New("pubsub: the plugin has no registry: make it with New, and give WithRegistry one")
	}
	if err := checkSchema(p.installer.Schema); err != nil {
		return err
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	if _, _, err := p.declared(db); err != nil {
		return err
	}
	if p.dial == nil {
		p.dial = dialLike(db)
	}
	if !wrapDialector(db, p) {
		p.logger.Warn("AutoMigrate installs no triggers with this dialector: call Migrate after it", "dialector", fmt.Sprintf("%T", db.Dialector))
	}
	if err := (hooks.Transactions{}).Initialize(db); err != nil {
		return err
	}
	p.db = db
	p.listener = listener.New(listener.Config{
		DB: db, Pool: plain.Pool(db), Registry: p.registry, Dial: p.dial, Logger: p.logger,
		Schema: p.installer.Schema, Grace: p.grace, OnGap: p.onGap, PollOnly: p.pollOnly, KeepDead: p.keepDead,
	})
	return nil
}

// checkSchema refuses names that can't be a schema of the plugin's own.
func checkSchema(name string) error {
	switch {
	case len(name) > triggers.MaxIdentifier:
		return fmt.Errorf("pubsub: Schema(%q): the name has %d bytes; Postgres allows %d", name, len(name), triggers.MaxIdentifier)
	case name == "public", name == "information_schema", strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("pubsub: Schema(%q): the plugin needs a schema of its own", name)
	case strings.ContainsRune(name, 0), !utf8.ValidString(name):
		return fmt.Errorf("pubsub: Schema(%q): the name has a zero byte or is no UTF-8", name)
	}
	return nil
}

// initializeAgain is for plugins that open further databases with a copy of
// this one's configuration, such as dbresolver's sources and replicas.
func (p *Plugin) initializeAgain(db *gorm.DB) error {
	for _, plugin := range db.Plugins {
		if plugin == gorm.Plugin(p) {
			return hooks.Transactions{}.Initialize(db)
		}
	}
	return fmt.Errorf("%w: this plugin is in use by another *gorm.DB; make one with New for each", ErrTwoPlugins)
}

// declared returns the triggers and the subscriptions that the declarations ask
// for, and all that is wrong with the declarations.
func (p *Plugin) declared(db *gorm.DB) ([]triggers.Definition, []triggers.Subscription, error) {
	var defs []triggers.Definition
	var subs []triggers.Subscription
	var problems []error
	typed := p.registry.Channels()
	for _, sub := range p.registry.Subscriptions() {
		b, err := sub.Bind(db)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		subs = append(subs, sub.Record(b.Channel))
		if b.Trigger != nil {
			defs = append(defs, *b.Trigger)
		}
	}
	for _, d := range defs {
		if place, ok := typed[d.Channel]; ok {
			problems = append(problems, fmt.Errorf("channel %q carries a typed channel's values (declared at %s) and the rows of table %s (declared at %s): rename one",
				d.Channel, place, d.Table, d.Site))
		}
	}
	return defs, subs, errors.Join(append(problems, triggers.Validate(defs))...)
}

// use returns the database and what is declared.
func (p *Plugin) use() (*gorm.DB, []triggers.Definition, []triggers.Subscription, error) {
	p.mu.Lock()
	db := p.db
	p.mu.Unlock()
	if db == nil {
		return nil, nil, nil, ErrNotUsed
	}
	defs, subs, err := p.declared(db)
	return db, defs, subs, err
}

// Listen receives notifications on the named channels, or on all that have a
// declared function, and runs the functions. It blocks until ctx ends, and
// then for as long as the soft stop takes (see Grace), and returns nil.
//
// It returns an error at once when the declarations don't fit the database,
// when Migrate was never called (triggers.ErrNotMigrated), when a channel is unknown (listener.ErrUnknownChannel), when nothing is
// declared (listener.ErrNothingDeclared), when the first connection can't be
// made, and when notifications don't arrive on it (listener.ErrDeaf). A
// connection that breaks later is replaced for as long as it takes.
func (p *Plugin) Listen(ctx context.Context, channels ...string) error {
	db, defs, _, err := p.use()
	if err != nil {
		return err
	}
	if len(p.registry.Subscriptions()) == 0 {
		return fmt.Errorf("%w: import the package that declares them", listener.ErrNothingDeclared)
	}
	if len(channels) > 0 {
		defs = slices.DeleteFunc(defs, func(d triggers.Definition) bool { return !slices.Contains(channels, d.Channel) })
	}
	if err := p.verify(ctx, db, defs); err != nil && ctx.Err() == nil {
		return err
	}
	return p.listener.Run(ctx, channels...)
}

// verify warns of triggers that aren't as declared.
func (p *Plugin) verify(ctx context.Context, db *gorm.DB, defs []triggers.Definition) error {
	ctx, cancel := context.WithTimeout(ctx, borrowLimit)
	defer cancel()
	err := p.installer.Verify(ctx, db, defs)
	switch {
	case errors.Is(err, triggers.ErrDrift):
		p.logger.Warn("some events will not come, or come from elsewhere: call Migrate, and Prune for orphans", "error", err)
		return nil
	case err != nil && ctx.Err() != nil:
		if pool, problem := db.DB(); problem == nil {
			stats := pool.Stats()
			return fmt.Errorf("look at the triggers within %s (%d of %d connections of the pool in use): %w", borrowLimit, stats.InUse, stats.MaxOpenConnections, err)
		}
	}
	return err
}

// Ready returns a channel that is closed when the Listen that is going on, or
// else the next one, has begun to receive: what is committed from then on is
// delivered. Ask for it anew for each Listen. Before db.Use it returns nil,
// from which nothing is ever received.
func (p *Plugin) Ready() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return nil
	}
	return p.listener.Ready()
}

// Health returns the state of listening in this process, for a probe and for
// metrics. It doesn't ask the database. See listener.Health.Err.
func (p *Plugin) Health() listener.Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return listener.Health{}
	}
	return p.listener.Health()
}

// Queue returns the durable queue, to look into and to look after.
func (p *Plugin) Queue() (*listener.Queue, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.db == nil {
		return nil, ErrNotUsed
	}
	return listener.NewQueue(plain.Pool(p.db), p.installer.Schema), nil
}

// Drain handles what waits in the durable queue, in the caller's goroutine, and
// returns how many events it took. See listener.Listener.Drain.
func (p *Plugin) Drain(ctx context.Context) (int, error) {
	if _, _, _, err := p.use(); err != nil {
		return 0, err
	}
	return p.listener.Drain(ctx)
}

// wrapDialector makes db's AutoMigrate and CreateTable install triggers. It
// reports false for a dialector that isn't of gorm.io/driver/postgres.
func wrapDialector(db *gorm.DB, p *Plugin) bool {
	switch d := db.Dialector.(type) {
	case *postgres.Dialector:
		db.Dialector = &Dialector{Dialector: d, plugin: p}
	case postgres.Dialector:
		db.Dialector = &Dialector{Dialector: &d, plugin: p}
	default:
		return false
	}
	return true
}
