package pubsub

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-pubsub/pubsub/listener"
)

// Option configures the plugin.
type Option func(*Plugin)

// WithRegistry takes the declarations from r. Defaults to the registry that
// declarations without In go to.
func WithRegistry(r *listener.Registry) Option { return func(p *Plugin) { p.registry = r } }

// Schema names the schema of the plugin's own tables and functions, which
// Migrate creates and which is for the plugin alone. Applications that share a
// database and don't share their declarations need one each; then they don't
// hear each other either, since to Postgres their channels' names begin with the
// schema (triggers.Wire). Defaults to "pubsub".
func Schema(name string) Option { return func(p *Plugin) { p.installer.Schema = name } }

// Logger gets what goes wrong where no error can be returned: failing
// functions, broken connections, dropped events. Payloads are never logged.
// Defaults to slog.Default().
func Logger(l *slog.Logger) Option { return func(p *Plugin) { p.logger = l } }

// ListenDSN is the address to listen on, for an application whose own goes
// through a pooler in transaction mode, where LISTEN does nothing.
func ListenDSN(dsn string) Option {
	return ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		prepare(config)
		return pgx.ConnectConfig(ctx, config)
	})
}

// ListenConfig is like ListenDSN, with a configuration made by pgx.ParseConfig.
// It is copied.
func ListenConfig(config *pgx.ConnConfig) Option {
	return ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		own := config.Copy()
		prepare(own)
		return pgx.ConnectConfig(ctx, own)
	})
}

// ListenDial opens each connection to listen on, for an application whose
// credentials change. The function must call prepare with its configuration
// before it connects, and return a connection that nobody else uses.
//
// Defaults to the way in which the *gorm.DB itself connects: its DSN with its
// OptionOpenDB; or for a pool that the application made, the configuration of
// one of its connections, which must be pgx's.
func ListenDial(dial listener.Dial) Option { return func(p *Plugin) { p.dial = dial } }

// Grace is how long Listen waits, once its context has ended, for functions
// that are running and events that have arrived. Zero means the default of 10
// seconds.
func Grace(d time.Duration) Option { return func(p *Plugin) { p.grace = d } }

// OnGap is called after a broken listening connection was replaced, with the
// time in which broadcasts may have been missed: the moment to throw away a
// cache that broadcasts keep fresh. It has a goroutine of its own, and a
// context that ends with Listen's grace period.
func OnGap(f func(context.Context, listener.Gap)) Option { return func(p *Plugin) { p.onGap = f } }

// LockTimeout bounds how long the installation of a trigger waits for its
// table's lock, and so how long it can hold up writers. It is tried ten times.
// Defaults to 1 second.
func LockTimeout(d time.Duration) Option { return func(p *Plugin) { p.installer.LockTimeout = d } }

// PollOnly works on the durable queue without a listening connection, for a
// database that is only reached through a pooler in transaction mode. An idle
// process then asks the database every second, and so an event may wait that
// long. Broadcasts can't be received. Without this option Listen finds out by
// itself, after 10 seconds and with a warning, when nothing broadcasts.
func PollOnly() Option { return func(p *Plugin) { p.pollOnly = true } }

// KeepDead is how long dead letters are kept. Defaults to 14 days. A negative one
// means for ever.
func KeepDead(d time.Duration) Option { return func(p *Plugin) { p.keepDead = d } }
