package tests

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

func queueOf(t *testing.T, db *gorm.DB) *listener.Queue {
	t.Helper()
	q, err := pubsubtest.Of(t, db).Queue()
	require.NoError(t, err)
	return q
}

// statusOf returns the state of one subscription.
func statusOf(t *testing.T, db *gorm.DB, name string) listener.Status {
	t.Helper()
	all, err := queueOf(t, db).Status(t.Context())
	require.NoError(t, err)
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	require.FailNow(t, "no such subscription", "%s in %v", name, all)
	return listener.Status{}
}

func TestQueueBeforeUse(t *testing.T) {
	t.Parallel()
	p := pubsub.New()
	_, err := p.Queue()
	require.ErrorIs(t, err, pubsub.ErrNotUsed)
	_, err = p.Drain(t.Context())
	require.ErrorIs(t, err, pubsub.ErrNotUsed)
	_, err = p.PruneSubscriptions(t.Context())
	require.ErrorIs(t, err, pubsub.ErrNotUsed)
}

func TestQueueStatusAndEvents(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
		if label == "bad" {
			return listener.Discard(errors.New("no use"))
		}
		if label == "later" {
			return listener.RetryAfter(time.Hour, nil)
		}
		return nil
	})
	onParcel(r, "b", func(context.Context, *gorm.DB, string) error { return nil })
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	before := time.Now().Add(-time.Minute)
	create(t, db, "bad", "later")
	_, err := pubsubtest.Of(t, db).Drain(t.Context())
	require.ErrorContains(t, err, "no use")
	require.ErrorContains(t, err, `"d"`)
	create(t, db, "one", "two")

	d := statusOf(t, db, "d")
	require.Equal(t, triggers.Subscription{Name: "d", Channel: "parcels_insert"}, d.Subscription)
	require.Equal(t, []int64{2, 1, 1}, []int64{d.Ready, d.Scheduled, d.Dead})
	require.WithinRange(t, d.Oldest, before, time.Now().Add(time.Minute))
	require.Zero(t, d.Paused)
	b := statusOf(t, db, "b")
	require.True(t, b.Broadcast)
	require.Zero(t, b.Ready+b.Scheduled+b.Dead)

	events := pubsubtest.Events(t, db)
	require.Len(t, events, 3)
	require.False(t, events[0].RunAt.IsZero(), "the one that waits for its next attempt")
	require.Equal(t, 1, events[0].Attempt)
	require.NotEmpty(t, events[0].Error)
	var row parcel
	require.NoError(t, json.Unmarshal(events[2].Payload, &row))
	require.Equal(t, "two", row.Label)
	require.Equal(t, []any{"d", "parcels_insert", triggers.Insert, 0}, []any{events[2].Subscription, events[2].Channel, events[2].Op, events[2].Attempt})
	none, err := queueOf(t, db).Events(t.Context(), "b", 10)
	require.NoError(t, err)
	require.Empty(t, none)

	letters, err := queueOf(t, db).Dead(t.Context(), "d", 10)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, "no use", letters[0].Error)
	require.WithinRange(t, letters[0].DiedAt, before, time.Now().Add(time.Minute))
}

func TestQueuePauseAndResume(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"InTransaction": nil, "Leased": {hooks.Leased(time.Minute)}, "Ordered": {hooks.Ordered()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in, other := newInbox[string](), newInbox[string]()
			onDurableParcel(r, "paused", in.put, opts...)
			onDurableParcel(r, "other", other.put)
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
			q := queueOf(t, db)
			require.NoError(t, q.Pause(t.Context(), "paused"))
			at := statusOf(t, db, "paused").Paused
			require.False(t, at.IsZero())
			require.NoError(t, q.Pause(t.Context(), "paused"))
			require.Equal(t, at, statusOf(t, db, "paused").Paused, "it has been paused since the first time")
			pubsubtest.Listen(t, db)
			create(t, db, "one", "two")
			require.Equal(t, []string{"one", "two"}, other.take(t, 2))
			comesTrue(t, func() bool { return statusOf(t, db, "other").Ready == 0 }, "the other goes on")
			require.EqualValues(t, 2, statusOf(t, db, "paused").Ready)
			began := time.Now()
			require.NoError(t, q.Resume(t.Context(), "paused"))
			require.ElementsMatch(t, []string{"one", "two"}, in.take(t, 2))
			require.Less(t, time.Since(began), 4*time.Second, "it is not found by the slow poll")
			for _, err := range []error{q.Pause(t.Context(), "nobody"), q.Resume(t.Context(), "nobody"), q.Rename(t.Context(), "nobody", "x")} {
				require.ErrorIs(t, err, listener.ErrUnknownSubscription)
				require.ErrorContains(t, err, `"nobody"`)
			}
		})
	}
}

func TestQueueRename(t *testing.T) {
	t.Parallel()
	for name, there := range map[string]bool{"NewName": false, "NameThatListens": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := hooks.NewRegistry()
			onDurableParcel(old, "old", func(_ context.Context, _ *gorm.DB, label string) error {
				if label == "bad" {
					return listener.Discard(nil)
				}
				return nil
			})
			db, _ := taped(t, old, []any{&parcel{}, &receipt{}})
			create(t, db, "bad")
			_, err := pubsubtest.Of(t, db).Drain(t.Context())
			require.Error(t, err)
			create(t, db, "waits")

			renamed, in := hooks.NewRegistry(), newInbox[string]()
			onDurableParcel(renamed, "new", in.put)
			second, log := another(t, db, renamed)
			if there {
				pubsubtest.Listen(t, second)
				create(t, second, "mine")
				require.Equal(t, "mine", in.next(t))
				comesTrue(t, func() bool {
					for _, line := range log.with(slog.LevelWarn, "events wait for a subscription that nothing declares") {
						if line["subscription"] == "old" {
							return true
						}
					}
					return false
				}, "it is told of")
			}
			require.NoError(t, queueOf(t, db).Rename(t.Context(), "old", "new"))
			want := []string{"waits"}
			if there {
				want = append(want, "mine") // the old name got that, too
			} else {
				pubsubtest.Listen(t, second)
			}
			require.ElementsMatch(t, want, in.take(t, len(want)))
			all, err := queueOf(t, db).Status(t.Context())
			require.NoError(t, err)
			require.Len(t, all, 1)
			require.Equal(t, "new", all[0].Name)
			require.EqualValues(t, 1, all[0].Dead)
			n, err := queueOf(t, db).Redrive(t.Context(), "new")
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
			require.Equal(t, "bad", in.next(t))
		})
	}
}

func TestQueueRedriveAndRemove(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Ordered": {hooks.Ordered()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			var well bool
			in := newInbox[string]()
			hooks.OnInsert(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				if !well {
					return errors.New("not well")
				}
				require.Equal(t, 1, p.Attempt, "all attempts are before it")
				in <- p.New.Label
				return nil
			}, append([]hooks.Option{hooks.In(r), hooks.Name("d"), hooks.Retry(listener.RetryPolicy{Attempts: 1})}, opts...)...)
			db, _ := taped(t, r, []any{&parcel{}})
			create(t, db, "a", "b", "c", "d")
			_, err := pubsubtest.Of(t, db).Drain(t.Context())
			require.ErrorContains(t, err, "not well")
			q := queueOf(t, db)
			letters, err := q.Dead(t.Context(), "", 10)
			require.NoError(t, err)
			require.Len(t, letters, 4)
			well = true

			n, err := q.Remove(t.Context(), "d", letters[3].ID)
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
			n, err = q.Redrive(t.Context(), "other")
			require.NoError(t, err)
			require.Zero(t, n)
			n, err = q.Redrive(t.Context(), "d", letters[1].ID, letters[3].ID)
			require.NoError(t, err)
			require.EqualValues(t, 1, n, "the removed one is gone")
			waiting := pubsubtest.Events(t, db)
			require.Len(t, waiting, 1)
			require.JSONEq(t, string(letters[1].Payload), string(waiting[0].Payload))
			require.Equal(t, name == "Ordered", waiting[0].ID > letters[3].ID)
			n, err = q.Redrive(t.Context(), "d")
			require.NoError(t, err)
			require.EqualValues(t, 2, n)
			taken, err := pubsubtest.Of(t, db).Drain(t.Context())
			require.NoError(t, err)
			require.Equal(t, 3, taken)
			require.ElementsMatch(t, []string{"a", "b", "c"}, in.take(t, 3))
			require.Zero(t, left(t, db, "dead_event"))
		})
	}
}

func TestQueuePruneSubscriptions(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "kept", func(context.Context, *gorm.DB, string) error { return nil })
	more := hooks.NewRegistry()
	onDurableParcel(more, "gone", func(context.Context, *gorm.DB, string) error { return nil })
	db, _ := taped(t, more, []any{&parcel{}, &receipt{}})
	create(t, db, "one")
	kept, _ := another(t, db, r)
	p := pubsubtest.Of(t, kept)
	require.NoError(t, p.Migrate(t.Context()))
	create(t, db, "two")
	pruned, err := p.PruneSubscriptions(t.Context())
	require.NoError(t, err)
	require.Len(t, pruned, 1)
	require.Equal(t, "gone", pruned[0].Name)
	require.EqualValues(t, 2, pruned[0].Ready)
	require.EqualValues(t, 1, left(t, db, "event"), "the kept one's")
	pruned, err = p.PruneSubscriptions(t.Context())
	require.NoError(t, err)
	require.Empty(t, pruned)
	create(t, db, "three")
	require.EqualValues(t, 2, left(t, db, "event"), "no subscription, no event")

	// What a transaction has stored for a subscription that went meanwhile.
	require.NoError(t, db.Exec(`INSERT INTO pubsub.event (subscription_id, op, payload) VALUES (987654, 'insert', '{"id": 1}')`).Error)
	pubsubtest.Listen(t, kept)
	comesTrue(t, func() bool { return left(t, db, "dead_event") == 1 }, "it is set aside")
	letters, err := queueOf(t, db).Dead(t.Context(), "", 10)
	require.NoError(t, err)
	require.Contains(t, letters[0].Error, "removed")
	require.Contains(t, letters[0].Subscription, "987654")
}

// A subscription that becomes ordered has events without keys.
func TestQueueBecomesOrdered(t *testing.T) {
	t.Parallel()
	before, after := hooks.NewRegistry(), hooks.NewRegistry()
	in := newInbox[string]()
	onDurableParcel(before, "d", in.put)
	onDurableParcel(after, "d", in.put, hooks.Ordered())
	db, _ := taped(t, before, []any{&parcel{}, &receipt{}})
	create(t, db, "one", "two")
	second, _ := another(t, db, after)
	require.NoError(t, pubsubtest.Of(t, second).Migrate(t.Context()))
	create(t, db, "three")
	pubsubtest.Drain(t, second)
	require.ElementsMatch(t, []string{"one", "two", "three"}, in.take(t, 3))
	require.Zero(t, left(t, db, "event"))
}

func TestQueueDrain(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onDurableParcel(r, "chain", func(_ context.Context, tx *gorm.DB, label string) error {
		in <- label
		if len(label) < 4 {
			return tx.Create(&parcel{Label: label + "x"}).Error
		}
		return nil
	})
	onDurableParcel(r, "leased", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Leased(time.Minute))
	later := listener.NewChannel[string]("later", listener.In(r))
	later.Listen(func(_ context.Context, _ *gorm.DB, v string) error { in <- v; return nil }, listener.Name("later"))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	create(t, db, "x")
	require.NoError(t, later.Notify(t.Context(), db, "now"))
	require.NoError(t, later.Notify(t.Context(), db, "tomorrow", listener.Delay(24*time.Hour)))
	n, err := pubsubtest.Of(t, db).Drain(t.Context())
	require.NoError(t, err)
	require.Equal(t, 9, n, "four parcels for two, and a message")
	require.ElementsMatch(t, []string{"x", "xx", "xxx", "xxxx", "now"}, in.take(t, 5))
	require.Len(t, pubsubtest.Events(t, db), 1)
	require.EqualValues(t, 8, receipts(t, db))
	n, err = pubsubtest.Of(t, db).Drain(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestQueueIsPolledOnly(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onDurableParcel(r, "d", in.put)
	url := plugURL(t)
	db, p := plugUse(t, url, r, pubsub.PollOnly())
	require.NoError(t, db.AutoMigrate(&parcel{}, &receipt{}))
	pubsubtest.Listen(t, db)
	h := p.Health()
	require.True(t, h.Polling)
	require.False(t, h.Listening)
	require.NoError(t, h.Err())
	require.Zero(t, number(t, db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pubsub listener'"))
	for _, label := range []string{"one", "two"} {
		create(t, db, label)
		require.Equal(t, label, in.next(t))
	}

	onParcel(r, "b", func(context.Context, *gorm.DB, string) error { return nil })
	_, other := plugUse(t, url, r, pubsub.PollOnly())
	require.NoError(t, other.Migrate(t.Context()))
	require.ErrorIs(t, other.Listen(t.Context()), listener.ErrDeaf)
}

func TestQueueKeepsDeadLetters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep time.Duration
		left int64
	}{"Default": {0, 1}, "Short": {time.Hour, 0}, "ForEver": {-1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := newInbox[string]()
			onDurableParcel(r, "d", in.put)
			db, _ := plugUse(t, plugURL(t), r, pubsub.KeepDead(c.keep))
			require.NoError(t, db.AutoMigrate(&parcel{}, &receipt{}))
			plugExec(t, db, `INSERT INTO pubsub.dead_event (id, subscription, channel, payload, attempt, error, created_at, died_at)
				VALUES (1, 'd', 'c', '{}', 1, 'e', now(), now() - interval '15 days'), (2, 'd', 'c', '{}', 1, 'e', now(), now() - interval '13 days')`)
			pubsubtest.Listen(t, db)
			comesTrue(t, func() bool { return left(t, db, "dead_event") == c.left }, "old ones go")
			create(t, db, "goes on")
			require.Equal(t, "goes on", in.next(t))
			require.Equal(t, c.left, left(t, db, "dead_event"))
		})
	}
}
