package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/site"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Channel is a notification channel whose messages are values of type T, sent
// as JSON. Declare it once, as a package variable, and use that variable to
// listen and to notify. It may be used from several goroutines.
type Channel[T any] struct {
	name string
	opts []Option
	err  error
}

// NewChannel declares a typed channel. The name is the notification channel's,
// 1 to 63 bytes. The options hold for all its subscriptions; Name has no place
// here.
//
// It panics, naming the place, when the name can't be a channel's or is
// declared already in that registry, and when T has a part that JSON can't
// carry (channels, functions, complex numbers).
func NewChannel[T any](name string, opts ...Option) *Channel[T] {
	place := site.Caller()
	fail := func(err error) {
		panic(fmt.Sprintf("pubsub: channel %q declared at %s: %v", name, place, err))
	}
	s := newSettings(opts)
	if s.problem != nil {
		fail(s.problem)
	}
	if s.name != "" {
		fail(errors.New("Name names a subscription: give it to Listen"))
	}
	if name == "" || len(name) > triggers.MaxIdentifier {
		fail(fmt.Errorf("the name has %d bytes; Postgres allows 1 to %d", len(name), triggers.MaxIdentifier))
	}
	if strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		fail(fmt.Errorf("the name %q has a zero byte or is no UTF-8", name))
	}
	if err := jsonable[T](); err != nil {
		fail(err)
	}
	c := &Channel[T]{name: name, opts: opts}
	if !s.broadcast {
		c.err = ErrDurable
	}
	s.registry.addChannel(declared{name: name, site: place, problem: c.err})
	return c
}

// Name returns the channel's name.
func (c *Channel[T]) Name() string { return c.name }

// Listen declares that h is called with each value that arrives. The function
// runs when the plugin's Listen does, with the guarantees of the channel's
// delivery (see the package's comment). tx is an ordinary session on the
// plugin's database; no transaction is open.
//
// An error or a panic of h is logged and counted; a broadcast is not tried
// again. A message that can't be decoded as T is logged and counted, and stops
// nothing. Options come on top of the channel's.
//
// It panics, naming the place, when h is nil or the subscription's name is
// taken.
func (c *Channel[T]) Listen(h func(ctx context.Context, tx *gorm.DB, v T) error, opts ...Option) {
	place := site.Caller()
	if h == nil {
		panic(fmt.Sprintf("pubsub: the listener on channel %q declared at %s has no function", c.name, place))
	}
	handle := func(_ context.Context, m Message, deliver Deliver) {
		var v T
		if err := json.Unmarshal([]byte(m.Data), &v); err != nil {
			deliver(nil, fmt.Errorf("decode the message as %T: %s", v, withoutValues(err)))
			return
		}
		deliver(func(ctx context.Context, tx *gorm.DB) error { return h(ctx, tx, v) }, nil)
	}
	Declare(Declaration{
		Name: DefaultName(c.name, h, place),
		Site: place,
		Bind: func(*gorm.DB) (Binding, error) {
			return Binding{
				Channel: c.name,
				Open:    func(context.Context, *gorm.DB, *slog.Logger) (Handler, error) { return handle, nil },
			}, nil
		},
	}, append(append([]Option(nil), c.opts...), opts...)...)
}

// withoutValues describes an error of encoding/json without the parts that quote
// the message, since it goes to a log.
func withoutValues(err error) string {
	var mismatch *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &mismatch):
		kind, _, _ := strings.Cut(mismatch.Value, " ")
		return fmt.Sprintf("field %q at byte %d: a JSON %s doesn't fit %s", mismatch.Field, mismatch.Offset, kind, mismatch.Type)
	case errors.As(err, &syntax):
		return fmt.Sprintf("no JSON at byte %d", syntax.Offset)
	}
	return fmt.Sprintf("a value doesn't fit (%T)", err)
}

// DefaultName returns the name of a subscription that was given none: what is
// listened to and the function's name. A function literal, whose name isn't
// stable, is named after its place.
func DefaultName(subject string, f any, place string) string {
	name, stable := site.Func(f)
	if !stable {
		name = place
	}
	return subject + "." + name
}

// Notify sends v to the channel's listeners. In a transaction it leaves when
// that commits, and never when that, or the savepoint it was sent in, is
// rolled back; outside of one it leaves at once. It blocks for one round trip
// to the database.
//
// A value of any size goes: what is larger than a notification may be (7,999
// bytes) is stored, and fetched by the listeners. Postgres refuses to PREPARE
// TRANSACTION after a notification.
//
// It returns ErrNotInstalled when tx belongs to a *gorm.DB without the plugin,
// triggers.ErrNotMigrated when the database lacks our functions, and the error of encoding v or of the database, which in a transaction means
// that the transaction is broken. In a dry run it does nothing.
func (c *Channel[T]) Notify(ctx context.Context, tx *gorm.DB, v T) error {
	if c.err != nil {
		return fmt.Errorf("notify channel %q: %w", c.name, c.err)
	}
	if tx.Error != nil {
		return fmt.Errorf("notify channel %q: %w", c.name, tx.Error)
	}
	schema, err := schemaOf(tx)
	if err != nil {
		return fmt.Errorf("notify channel %q: %w", c.name, err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("notify channel %q: encode %T: %w", c.name, v, err)
	}
	if tx.DryRun {
		return nil
	}
	// The pool itself and not tx.Exec: a resolver of read replicas would take
	// a SELECT for a read.
	call := "SELECT " + pgx.Identifier{schema, "notify"}.Sanitize() + "($1, $2)"
	if _, err := tx.Statement.ConnPool.ExecContext(ctx, call, triggers.Wire(schema, c.name), string(data)); err != nil {
		var failure *pgconn.PgError
		if errors.As(err, &failure) && (failure.Code == invalidSchema || failure.Code == undefinedFunction) {
			err = fmt.Errorf("%w: %w", triggers.ErrNotMigrated, err)
		}
		return fmt.Errorf("notify channel %q: %w", c.name, err)
	}
	return nil
}

// SQLSTATEs that tell that our schema or its functions are not there.
const (
	invalidSchema     = "3F000"
	undefinedFunction = "42883"
)

// Host is what Notify looks for among a database's plugins.
type Host interface {
	// PubSubSchema returns the schema of our tables and functions.
	PubSubSchema() string
}

func schemaOf(tx *gorm.DB) (string, error) {
	for _, plugin := range tx.Plugins {
		if host, ok := plugin.(Host); ok {
			return host.PubSubSchema(), nil
		}
	}
	return "", ErrNotInstalled
}
