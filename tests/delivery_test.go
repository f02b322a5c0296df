package tests

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// parcel is the model of tests about delivery.
type parcel struct {
	ID     int64
	Label  string
	Weight int64
}

func create(t *testing.T, db *gorm.DB, labels ...string) {
	t.Helper()
	for _, label := range labels {
		require.NoError(t, db.Create(&parcel{Label: label}).Error)
	}
}

// onParcel declares a listener on inserts that only wants to see labels.
func onParcel(r *listener.Registry, name string, f func(ctx context.Context, tx *gorm.DB, label string) error, opts ...hooks.Option) {
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		return f(ctx, tx, p.New.Label)
	}, append([]hooks.Option{hooks.Broadcast(), hooks.In(r), hooks.Name(name)}, opts...)...)
}

func failInDepth() error { panic("something is broken") }

func TestFailuresStopNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail  func() error
		error string
		stack string
	}{
		"Error":          {func() error { return errors.New("not today") }, "not today", ""},
		"Panic":          {failInDepth, "something is broken", "tests.failInDepth"},
		"PanicWithError": {func() error { panic(errors.ErrUnsupported) }, errors.ErrUnsupported.Error(), "TestFailuresStopNothing"},
		"NilPointer":     {func() error { var p *parcel; p.Label = ""; return nil }, "nil pointer", "TestFailuresStopNothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in, channelIn, other := newInbox[string](), newInbox[string](), newInbox[string]()
			handle := func(_ context.Context, _ *gorm.DB, label string) error {
				channelIn <- label
				if label == "bad" {
					return c.fail()
				}
				return nil
			}
			onParcel(r, "failing", func(_ context.Context, _ *gorm.DB, label string) error {
				in <- label
				if label == "bad" {
					return c.fail()
				}
				return nil
			})
			onParcel(r, "other", other.put)
			news := listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r))
			news.Listen(handle, listener.Name("news"))
			db, log := taped(t, r, []any{&parcel{}})
			pubsubtest.Listen(t, db)
			labels := []string{"first", "bad", "bad", "last"}
			create(t, db, labels...)
			for _, l := range labels {
				require.NoError(t, news.Notify(t.Context(), db, l))
			}
			require.Equal(t, labels, in.take(t, 4))
			require.Equal(t, labels, other.take(t, 4))
			require.Equal(t, labels, channelIn.take(t, 4))
			for name, want := range map[string]listener.SubscriptionHealth{
				"failing": {Handled: 2, Failed: 2}, "news": {Handled: 2, Failed: 2}, "other": {Handled: 4},
			} {
				comesTrue(t, func() bool {
					got := counters(t, db, name)
					return got.Handled == want.Handled && got.Failed == want.Failed && got.Running == 0
				}, name)
			}
			lines := log.with(slog.LevelError, "a listener failed")
			require.Len(t, lines, 4)
			for _, line := range lines {
				require.Contains(t, line["error"], c.error)
				require.Contains(t, []any{"failing", "news"}, line["subscription"])
				require.Contains(t, []any{"parcels_insert", "news"}, line["channel"])
				require.NotZero(t, line["event_id"])
				if c.stack != "" {
					require.Contains(t, line["stack"], c.stack)
				}
			}
		})
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Timeout": {hooks.Timeout(time.Minute)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			problems := newInbox[string]()
			onParcel(r, "s", func(ctx context.Context, tx *gorm.DB, label string) error {
				_, inTransaction := tx.Statement.ConnPool.(gorm.TxCommitter)
				switch {
				case tx.Error != nil:
					problems <- label + ": an earlier call's error: " + tx.Error.Error()
				case tx.Statement.Context != ctx:
					problems <- label + ": tx isn't bound to ctx"
				case inTransaction:
					problems <- label + ": a transaction is open"
				default:
					var p parcel
					if err := tx.Where("label = ?", label).First(&p).Error; err != nil {
						problems <- label + ": " + err.Error()
					} else {
						problems <- label + ": none"
					}
				}
				return tx.AddError(errors.New("a function may record an error on its session"))
			}, opts...)
			db, _ := taped(t, r, []any{&parcel{}})
			pubsubtest.Listen(t, db)
			create(t, db, "one", "two", "three")
			require.Equal(t, []string{"one: none", "two: none", "three: none"}, problems.take(t, 3))
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	causes := newInbox[error]()
	onParcel(r, "timed", func(ctx context.Context, tx *gorm.DB, label string) error {
		if label == "slow" {
			err := tx.Exec("SELECT pg_sleep(60)").Error // the session ends with the context, too
			if ctx.Err() == nil || err == nil {
				return errors.New("still going on")
			}
			causes <- context.Cause(ctx)
			return context.Cause(ctx)
		}
		in <- label
		return ctx.Err()
	}, hooks.Timeout(100*time.Millisecond))
	db, log := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	create(t, db, "slow", "quick")
	require.ErrorContains(t, causes.next(t), "100ms")
	require.Equal(t, "quick", in.next(t))
	comesTrue(t, func() bool { return counters(t, db, "timed").Handled == 1 }, "the next call has its own time")
	require.EqualValues(t, 1, counters(t, db, "timed").Failed)
	lines := log.with(slog.LevelError, "a listener failed")
	require.Len(t, lines, 1)
	require.Contains(t, lines[0]["error"], "timeout of 100ms")
}

func TestTimeoutIgnored(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	started, release := newInbox[string](), make(chan struct{})
	onParcel(r, "stubborn", func(ctx context.Context, _ *gorm.DB, label string) error {
		started <- label
		<-ctx.Done()
		<-release
		return nil
	}, hooks.Timeout(time.Millisecond))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	create(t, db, "one", "two")
	require.Equal(t, "one", started.next(t))
	comesTrue(t, func() bool { return counters(t, db, "stubborn").Waiting == 1 }, "it keeps its place")
	require.Empty(t, started)
	close(release)
	require.Equal(t, "two", started.next(t))
}

func TestSlowSubscription(t *testing.T) {
	t.Parallel()
	const buffer, events = 5, 200
	r := hooks.NewRegistry()
	entered, release := newInbox[string](), make(chan struct{})
	onParcel(r, "slow", func(_ context.Context, _ *gorm.DB, label string) error {
		entered <- label
		<-release
		return nil
	}, hooks.Buffer(buffer))
	quick := newInbox[string]()
	onParcel(r, "quick", quick.put)
	db, log := taped(t, r, []any{&parcel{}})
	stop := pubsubtest.Listen(t, db)
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	create(t, db, "first")
	entered.next(t) // it runs, and its buffer is empty
	for range events {
		create(t, db, "more")
	}
	quick.take(t, 1+events)
	h := counters(t, db, "slow")
	require.EqualValues(t, events-buffer, h.Dropped)
	require.Equal(t, buffer, h.Waiting)
	require.EqualValues(t, 1, h.Running)
	require.Zero(t, counters(t, db, "quick").Dropped)
	lines := log.with(slog.LevelWarn, "broadcasts are dropped")
	require.Len(t, lines, 1, "one warning, not one for each")
	require.Equal(t, "slow", lines[0]["subscription"])
	require.Equal(t, "parcels_insert", lines[0]["channel"])
	require.EqualValues(t, 1, lines[0]["dropped"])

	// One call on, there is room for one more, and for no more than that.
	release <- struct{}{}
	entered.next(t)
	assert.Equal(t, buffer-1, counters(t, db, "slow").Waiting, "notifications that wait")
	for range buffer {
		create(t, db, "even more")
	}
	quick.take(t, buffer)
	assert.EqualValues(t, events-buffer+buffer-1, counters(t, db, "slow").Dropped, "no more than the buffer waits")
	letGo()
	stop()
	lines = log.with(slog.LevelWarn, "broadcasts were dropped")
	require.Len(t, lines, 1)
	require.EqualValues(t, counters(t, db, "slow").Dropped, lines[0]["dropped"])
}

func TestSeveralSubscriptionsOnOneChannel(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	var models, values []inbox[string]
	news := listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r))
	for _, name := range []string{"a", "b", "c"} {
		m, v := newInbox[string](), newInbox[string]()
		onParcel(r, "model "+name, m.put)
		news.Listen(v.put, listener.Name("value "+name))
		models, values = append(models, m), append(values, v)
	}
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	labels := []string{"1", "2", "3", "4", "5"}
	create(t, db, labels...)
	for _, l := range labels {
		require.NoError(t, news.Notify(t.Context(), db, l))
	}
	for _, in := range append(models, values...) {
		require.Equal(t, labels, in.take(t, len(labels)))
	}
	var triggers int
	require.NoError(t, db.Raw("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").Scan(&triggers).Error)
	require.Equal(t, 1, triggers, "one trigger serves all")
}
