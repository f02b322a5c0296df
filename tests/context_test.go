package tests

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// actor is what the tests' transactions give their events.
type actor struct {
	User    int64  `json:"user,omitempty"`
	Request string `json:"request,omitempty"`
}

// carried is an event that has arrived, and what it carried.
type carried struct {
	label string
	actor actor
	of    triggers.EventContext // what the function's context.Context has
	span  trace.SpanContext
	bag   string
}

func carriedBy(t *testing.T, ctx context.Context, tx *gorm.DB, label string, c triggers.EventContext) carried {
	t.Helper()
	who, err := triggers.ContextAs[actor](c)
	if err != nil {
		t.Error(err)
	}
	if tx.Statement.Context.Value(listenerKey{}) != ctx.Value(listenerKey{}) || triggers.ContextOf(tx.Statement.Context) != triggers.ContextOf(ctx) {
		t.Error("the session has another context than the function")
	}
	return carried{label, who, triggers.ContextOf(ctx), trace.SpanContextFromContext(ctx), baggage.FromContext(ctx).Member("tenant").Value()}
}

type listenerKey struct{}

// A transaction's context reaches all that its events reach.
func TestContext(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	durable, broadcast, typed, aloud := newInbox[carried](), newInbox[carried](), newInbox[carried](), newInbox[carried]()
	into := func(in inbox[carried]) hooks.Handler[parcel] {
		return func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
			c := carriedBy(t, ctx, tx, p.New.Label, p.Context)
			if c.of != p.Context {
				t.Error("ContextOf and the payload differ")
			}
			in <- c
			return nil
		}
	}
	hooks.OnInsert(&parcel{}, into(durable), hooks.In(r), hooks.Name("durable"))
	hooks.OnInsert(&parcel{}, into(broadcast), hooks.In(r), hooks.Name("broadcast"), hooks.Broadcast())
	ofChannel := func(in inbox[carried]) func(context.Context, *gorm.DB, string) error {
		return func(ctx context.Context, tx *gorm.DB, label string) error {
			in <- carriedBy(t, ctx, tx, label, triggers.ContextOf(ctx))
			return nil
		}
	}
	channel := listener.NewChannel[string]("typed", listener.In(r))
	channel.Listen(ofChannel(typed), listener.Name("typed"))
	loud := listener.NewChannel[string]("loud", listener.In(r), listener.Broadcast())
	loud.Listen(ofChannel(aloud), listener.Name("loud"))
	db, _ := taped(t, r, []any{&parcel{}})
	pool, err := db.DB()
	require.NoError(t, err)
	pool.SetMaxOpenConns(3)
	pubsubtest.Listen(t, db)
	write := func(tx *gorm.DB, label string) {
		t.Helper()
		require.NoError(t, tx.Create(&parcel{Label: label}).Error)
		require.NoError(t, channel.Notify(t.Context(), tx, label))
		require.NoError(t, loud.Notify(t.Context(), tx, label))
	}
	arrives := func(label string, want actor) {
		t.Helper()
		for _, in := range []inbox[carried]{durable, broadcast, typed, aloud} {
			got := in.next(t)
			require.Equal(t, label, got.label)
			require.Equal(t, want, got.actor)
			require.Equal(t, want == actor{}, got.of == "")
		}
	}
	write(db, "without")
	arrives("without", actor{})
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, triggers.SetContext(tx, actor{User: 7}))
		write(tx, "seven")
		require.NoError(t, triggers.SetContext(tx, map[string]any{"request": `a "b" \ ☃ </>`, "extra": 1}))
		write(tx, "both")
		return nil
	}))
	arrives("seven", actor{User: 7})
	arrives("both", actor{User: 7, Request: `a "b" \ ☃ </>`})
	for range 5 { // on each of the pool's connections
		write(db, "without, again")
		arrives("without, again", actor{})
	}
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, triggers.SetContext(tx, actor{User: 1}))
		_ = tx.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, triggers.SetContext(tx, actor{User: 2}))
			return errors.New("undo")
		})
		write(tx, "as before")
		require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { return triggers.SetContext(tx, actor{User: 3}) }))
		write(tx, "nested")
		return nil
	}))
	arrives("as before", actor{User: 1})
	arrives("nested", actor{User: 3})

	// Large statements and large rows.
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, triggers.SetContext(tx, actor{User: 9}))
		createMany(t, tx, append(labels(99, "x"), strings.Repeat("large", 2000))...)
		return nil
	}))
	for _, in := range []inbox[carried]{durable, broadcast} {
		for _, got := range in.take(t, 100) {
			require.Equal(t, actor{User: 9}, got.actor)
		}
	}
}

// Events with and without a context in one batch.
func TestContextOfABatch(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := newInbox[carried]()
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		got <- carriedBy(t, ctx, tx, p.New.Label, p.Context)
		return tx.Create(&receipt{ParcelID: p.New.ID}).Error
	}, hooks.In(r), hooks.Name("d"))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	create(t, db, "first")
	for range 5 {
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, triggers.SetContext(tx, actor{User: 7}))
			create(t, tx, "with")
			return nil
		}))
		create(t, db, "without")
	}
	pubsubtest.Drain(t, db)
	for _, c := range got.take(t, 11) {
		require.Equal(t, c.label == "with", c.of != "", c.label)
	}
	requireReceipts(t, db)
}

func TestContextRefused(t *testing.T) {
	t.Parallel()
	db, _ := taped(t, hooks.NewRegistry(), []any{&parcel{}})
	require.ErrorIs(t, triggers.SetContext(db, actor{}), triggers.ErrNoTransaction)
	require.ErrorIs(t, triggers.Ignore(db), triggers.ErrNoTransaction)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		for _, v := range []any{1, "x", []int{1}, (*actor)(nil), func() {}, map[string]string{"x": strings.Repeat("x", 17<<10)}} {
			require.ErrorIs(t, triggers.SetContext(tx, v), triggers.ErrContext, "%T", v)
		}
		require.NoError(t, triggers.SetContext(tx, map[string]string{"a": strings.Repeat("x", 10<<10)}))
		require.ErrorIs(t, triggers.SetContext(tx, map[string]string{"b": strings.Repeat("x", 10<<10)}), triggers.ErrContext)
		require.NoError(t, tx.Create(&parcel{Label: "the transaction is as good as before"}).Error)
		require.NoError(t, tx.Exec("SET LOCAL pubsub.context = 'no JSON'").Error)
		require.ErrorIs(t, triggers.SetContext(tx, actor{}), triggers.ErrContext)
		return nil
	}))
}

// What somebody has set by hand is no JSON perhaps: the events come all the same, and
// the function learns of it when it asks.
func TestContextByHand(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := newInbox[error]()
	for name, opts := range map[string][]hooks.Option{"durable": nil, "broadcast": {hooks.Broadcast()}} {
		hooks.OnInsert(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
			_, err := triggers.ContextAs[actor](p.Context)
			got <- err
			return nil
		}, append(opts, hooks.In(r), hooks.Name(name))...)
	}
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, tx.Exec(`SET LOCAL pubsub.context = '"} no JSON'`).Error)
		return tx.Create(&parcel{Label: "x"}).Error
	}))
	require.Error(t, got.next(t))
	require.Error(t, got.next(t))
}

func init() {
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
}

// A function's span is a child of the one in which the row was written.
func TestContextOfTraces(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := newInbox[carried]()
	for name, opts := range map[string][]hooks.Option{"durable": nil, "broadcast": {hooks.Broadcast()}, "leased": {hooks.Leased(time.Minute)}} {
		hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
			got <- carriedBy(t, ctx, tx, p.New.Label, p.Context)
			return nil
		}, append(opts, hooks.In(r), hooks.Name(name))...)
	}
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled})
	member, err := baggage.NewMember("tenant", "acme")
	require.NoError(t, err)
	bag, err := baggage.New(member)
	require.NoError(t, err)
	ctx := baggage.ContextWithBaggage(trace.ContextWithSpanContext(t.Context(), span), bag)
	require.NoError(t, db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		require.NoError(t, triggers.SetContext(tx, nil))
		return tx.Create(&parcel{Label: "x"}).Error
	}))
	for _, c := range got.take(t, 3) {
		require.Equal(t, span.TraceID(), c.span.TraceID())
		require.Equal(t, span.SpanID(), c.span.SpanID())
		require.True(t, c.span.IsRemote())
		require.Equal(t, "acme", c.bag)
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	first, second, loud := newInbox[string](), newInbox[string](), newInbox[string]()
	into := func(in inbox[string]) hooks.Handler[parcel] {
		return func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
			in <- p.New.Label
			return nil
		}
	}
	hooks.OnInsert(&parcel{}, into(first), hooks.In(r), hooks.Name("first"), hooks.Channel("first"))
	hooks.OnInsert(&parcel{}, into(second), hooks.In(r), hooks.Name("second"), hooks.Channel(`se"cond, x`))
	hooks.OnInsert(&parcel{}, into(loud), hooks.In(r), hooks.Name("loud"), hooks.Channel("cond"), hooks.Broadcast())
	channel := listener.NewChannel[string]("typed", listener.In(r))
	typed := newInbox[string]()
	channel.Listen(typed.put, listener.Name("typed"))
	db, _ := taped(t, r, []any{&parcel{}})
	pool, err := db.DB()
	require.NoError(t, err)
	pool.SetMaxOpenConns(3)
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		create(t, tx, "before")
		_ = tx.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, triggers.Ignore(tx))
			return errors.New("undo")
		})
		create(t, tx, "undone")
		require.NoError(t, triggers.Ignore(tx, `se"cond, x`))
		create(t, tx, "not the second")
		require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { return triggers.Ignore(tx, "cond") }))
		create(t, tx, "only the first")
		require.NoError(t, triggers.Ignore(tx))
		create(t, tx, "none")
		createMany(t, tx, labels(20, "none")...)
		require.NoError(t, triggers.Ignore(tx, "first"))
		create(t, tx, "none, again")
		return channel.Notify(t.Context(), tx, "a value")
	}))
	require.Equal(t, "a value", typed.next(t))
	for range 5 {
		create(t, db, "after")
	}
	after := []string{"after", "after", "after", "after", "after"}
	require.Equal(t, append([]string{"before", "undone", "not the second", "only the first"}, after...), first.take(t, 9))
	require.Equal(t, append([]string{"before", "undone"}, after...), second.take(t, 7))
	require.Equal(t, append([]string{"before", "undone", "not the second"}, after...), loud.take(t, 8))
}
