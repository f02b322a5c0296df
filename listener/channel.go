package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
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
	name      string
	opts      []Option
	broadcast bool
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
	s.registry.addChannel(declared{name: name, site: place})
	return &Channel[T]{name: name, opts: opts, broadcast: s.broadcast}
}

// Name returns the channel's name.
func (c *Channel[T]) Name() string { return c.name }

// Listen declares that h is called with each value that arrives. The function
// runs when the plugin's Listen does, with the guarantees of the channel's
// delivery (see the package's comment). tx is the transaction that removes the
// event from the queue; with Leased and Broadcast it is an ordinary session on
// the plugin's database, and no transaction is open.
//
// After an error or a panic of h the event is tried again (see Retry); a
// broadcast is not. A message that can't be decoded as T goes to the dead
// letters alone, a broadcast is logged and counted. Options come on top of the
// channel's.
//
// It panics, naming the place, when h is nil or the subscription's name is
// taken.
func (c *Channel[T]) Listen(h func(ctx context.Context, tx *gorm.DB, v T) error, opts ...Option) {
	place := site.Caller()
	if h == nil {
		panic(fmt.Sprintf("pubsub: the listener on channel %q declared at %s has no function", c.name, place))
	}
	handle := func(_ context.Context, messages []Message, deliver Deliver) {
		for i, m := range messages {
			var v T
			call := func(ctx context.Context, tx *gorm.DB) error { return h(ctx, tx, v) }
			err := json.Unmarshal([]byte(m.Data), &v)
			if err != nil {
				call, err = nil, fmt.Errorf("decode the message as %T: %s", v, withoutValues(err))
			}
			if !deliver(i, call, err) {
				return
			}
		}
	}
	name, anonymous := DefaultName(c.name, h, place)
	Declare(Declaration{
		Name: name, Anonymous: anonymous,
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
// listened to and the function's name. A function literal is anonymous, and named
// after its place.
func DefaultName(subject string, f any, place string) (name string, anonymous bool) {
	name, stable := site.Func(f)
	if !stable {
		name = place
	}
	return subject + "." + name, !stable
}

// NotifyOption changes one call of Notify.
type NotifyOption func(*notice)

type notice struct {
	delay time.Duration
	at    time.Time
}

// Delay has the value handled no sooner than d after the call, by the database's
// clock. Durable subscriptions only.
func Delay(d time.Duration) NotifyOption { return func(n *notice) { n.delay = d } }

// RunAt has the value handled no sooner than at, by the database's clock. Durable
// subscriptions only.
func RunAt(at time.Time) NotifyOption { return func(n *notice) { n.at = at } }

// maxValue is the longest JSON that Notify takes, in bytes. Postgres's own limit
// for a statement and its parameters is 1 GB, and reaching it breaks the
// transaction.
const maxValue = 256 << 20

// Notify sends v to the channel's listeners: an event is stored for each durable
// subscription, and a broadcast sent to those that broadcast. In a transaction it
// takes effect when that commits, and never when that, or the savepoint it was
// sent in, is rolled back; outside of one at once. It blocks for one round trip
// to the database.
//
// A broadcast of any size goes: what is larger than a notification may be (7,999
// bytes) is stored, and fetched by the listeners. Postgres refuses to PREPARE
// TRANSACTION after a notification.
//
// It returns ErrNotInstalled when tx belongs to a *gorm.DB without the plugin,
// triggers.ErrNotMigrated when the database lacks our functions, ErrTooLarge, and
// the error of encoding v or of the database, which in a transaction means that
// the transaction is broken. In a dry run it does nothing.
func (c *Channel[T]) Notify(ctx context.Context, tx *gorm.DB, v T, opts ...NotifyOption) error {
	if err := c.notify(ctx, tx, v, opts); err != nil {
		return fmt.Errorf("notify channel %q: %w", c.name, err)
	}
	return nil
}

func (c *Channel[T]) notify(ctx context.Context, tx *gorm.DB, v T, opts []NotifyOption) error {
	if tx.Error != nil {
		return tx.Error
	}
	var n notice
	for _, opt := range opts {
		opt(&n)
	}
	if c.broadcast && len(opts) > 0 {
		return errors.New("a broadcast can't be delayed: declare the channel without Broadcast")
	}
	schema, err := schemaOf(tx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	if len(data) > maxValue {
		return fmt.Errorf("%w: %d bytes of JSON, and %d at the most", ErrTooLarge, len(data), maxValue)
	}
	if tx.DryRun {
		return nil
	}
	// The pool itself and not tx.Exec: a resolver of read replicas would take
	// a SELECT for a read.
	pool, wire := tx.Statement.ConnPool, triggers.Wire(schema, c.name)
	if c.broadcast {
		_, err = pool.ExecContext(ctx, "SELECT "+pgx.Identifier{schema, "notify"}.Sanitize()+"($1, $2)", wire, string(data))
	} else {
		call, at := "SELECT "+pgx.Identifier{schema, "publish"}.Sanitize()+"($1, $2, $3, $4, $5::timestamptz)", any(nil)
		switch {
		case !n.at.IsZero():
			at = n.at
		case n.delay > 0:
			call = strings.Replace(call, "$5::timestamptz", "pg_catalog.clock_timestamp() + $5::double precision * interval '1 second'", 1)
			at = n.delay.Seconds()
		}
		_, err = pool.ExecContext(ctx, call, c.name, wire, triggers.GateKey(schema, c.name), string(data), at)
	}
	var failure *pgconn.PgError
	if errors.As(err, &failure) && (failure.Code == invalidSchema || failure.Code == undefinedFunction) {
		err = fmt.Errorf("%w: %w", triggers.ErrNotMigrated, err)
	}
	return err
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
