package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// A leased function has a session and no transaction, and the lease is extended
// for as long as it runs.
func TestQueueLeaseIsExtended(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	entered, release := newInbox[string](), make(chan struct{})
	var calls atomic.Int64
	onDurableParcel(r, "leased", func(ctx context.Context, tx *gorm.DB, _ string) error {
		calls.Add(1)
		_, inTransaction := tx.Statement.ConnPool.(gorm.TxCommitter)
		if inTransaction || tx.Statement.Context != ctx {
			entered <- "a transaction is open, or tx isn't bound to ctx"
		} else {
			entered <- ""
		}
		<-release
		return ctx.Err()
	}, hooks.Leased(time.Second))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	second, _ := another(t, db, r)
	pubsubtest.Listen(t, db)
	pubsubtest.Listen(t, second) // would take it if it could
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	create(t, db, "x")
	require.Empty(t, entered.next(t))
	// The other process's looks at the queue are transactions, too, but short ones.
	comesTrue(t, func() bool {
		return number(t, db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state = 'idle in transaction'") == 0
	}, "no transaction is open")
	require.EqualValues(t, 1, receipts(t, db), "what a leased function writes is there at once")
	require.Never(t, func() bool { return calls.Load() > 1 }, 2800*time.Millisecond, 50*time.Millisecond, "it is reserved")
	letGo()
	drained(t, db)
	require.EqualValues(t, 1, calls.Load())
	sum := listener.SubscriptionHealth{}
	for _, d := range []*gorm.DB{db, second} {
		c := counters(t, d, "leased")
		sum.Handled += c.Handled
		sum.Failed += c.Failed
		sum.Late += c.Late
	}
	require.Equal(t, listener.SubscriptionHealth{Handled: 1}, sum)
}

const blockedLease = 1500 * time.Millisecond

// declareBlocked is a leased function that never returns.
func declareBlocked(r *listener.Registry) {
	onParcelDurably(r, "blocked", func(context.Context, *gorm.DB, string) error {
		fmt.Println("entered")
		select {}
	}, hooks.Leased(blockedLease))
}

// declareOnce is such a function with a single attempt.
func declareOnce(r *listener.Registry) {
	onParcelDurably(r, "once", func(context.Context, *gorm.DB, string) error {
		fmt.Println("entered")
		select {}
	}, hooks.Leased(blockedLease), hooks.Retry(listener.RetryPolicy{Attempts: 1}))
}

// What a process held when it was killed is another one's when the lease is over.
func TestQueueLeaseOfAKilledProcess(t *testing.T) {
	t.Parallel()
	for kind, attempts := range map[string]int{"blocked": 10, "once": 1} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			got := newInbox[int]()
			hooks.OnInsert(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				got <- p.Attempt
				return nil
			}, hooks.In(r), hooks.Name(kind), hooks.Leased(blockedLease), hooks.Retry(listener.RetryPolicy{Attempts: attempts}))
			db, _ := taped(t, r, []any{&parcel{}})
			p := startWorker(t, kind, dsnOf(t, db))
			p.until(t, "ready")
			create(t, db, "x")
			p.until(t, "entered")
			pubsubtest.Listen(t, db)
			p.kill()
			at := time.Now()
			if attempts == 1 {
				within(t, blockedLease+3*time.Second, func() bool { return left(t, db, "dead_event") == 1 }, "a dead letter")
				drained(t, db)
				require.Empty(t, got, "its only attempt is used up")
				letters := deadLetters(t, db)
				require.Equal(t, 1, letters[0].Attempt, "attempts that were made")
				require.NotEmpty(t, letters[0].Error)
				return
			}
			require.Equal(t, 2, got.next(t), "the attempt that the process died in counts")
			require.Less(t, time.Since(at), blockedLease+3*time.Second)
			t.Log("rescued after", time.Since(at))
			drained(t, db)
		})
	}
}

// A worker whose lease is taken away is told so, and what it has to say comes too
// late.
func TestQueueLeaseIsLost(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"ReturnsNil": nil, "ReturnsAnError": errors.New("too late")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			entered, causes, release := newInbox[int](), newInbox[error](), make(chan struct{})
			hooks.OnInsert(&parcel{}, func(ctx context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				entered <- p.Attempt
				if p.Attempt > 1 {
					return nil
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				<-release
				return result
			}, hooks.In(r), hooks.Name("leased"), hooks.Leased(time.Second))
			db, _ := taped(t, r, []any{&parcel{}})
			pubsubtest.Listen(t, db)
			create(t, db, "x")
			require.Equal(t, 1, entered.next(t))
			require.NoError(t, db.Exec("UPDATE pubsub.event SET lease = lease + 1, run_at = clock_timestamp() + interval '2 seconds'").Error)
			require.ErrorIs(t, causes.next(t), listener.ErrLeaseLost)
			close(release)
			comesTrue(t, func() bool { return counters(t, db, "leased").Late == 1 }, "a refused completion is counted")
			require.EqualValues(t, 1, left(t, db, "event"), "the event belongs to the other one")
			require.Zero(t, left(t, db, "dead_event"))
			require.Equal(t, 2, entered.next(t), "which died as well")
			drained(t, db)
			require.EqualValues(t, 1, counters(t, db, "leased").Late)
			require.EqualValues(t, 0, counters(t, db, "leased").Dead)
		})
	}
}

func TestQueueLeasedSoftStopGivesBack(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	entered, release := newInbox[string](), make(chan struct{})
	onDurableParcel(r, "leased", func(_ context.Context, _ *gorm.DB, label string) error {
		if label == "x50" {
			entered <- label
			<-release
		}
		return nil
	}, hooks.Leased(time.Minute))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	createMany(t, db, labels(100, "x")...)
	stop, ended := listenUntil(t, pubsubtest.Of(t, db))
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	entered.next(t)
	stop()
	letGo()
	require.NoError(t, await(t, ended))
	require.GreaterOrEqual(t, left(t, db, "event"), int64(40), "what was not begun is there again")
	require.EqualValues(t, 100, left(t, db, "event")+receipts(t, db))
	require.Zero(t, number(t, db, "SELECT count(*) FROM pubsub.event WHERE run_at IS NOT NULL OR lease IS NOT NULL OR attempt <> 0"), "at once, and without an attempt")
	second, _ := another(t, db, r)
	pubsubtest.Listen(t, second)
	drained(t, db)
	requireReceipts(t, db)
}

func TestQueueLeasedFailures(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	attempts := newInbox[int]()
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		switch p.New.Label {
		case "error":
			attempts <- p.Attempt
			return errors.New("not today")
		case "panic":
			return failInDepth()
		case "discard":
			return listener.Discard(errors.New("never"))
		case "goexit":
			failNow()
		case "sql":
			if err := tx.Exec("SELECT 1/0").Error; err == nil {
				return errors.New("it must fail")
			}
			return tx.WithContext(ctx).Exec("SELECT 1").Error
		}
		return tx.Create(&receipt{ParcelID: p.New.ID}).Error
	}, hooks.In(r), hooks.Name("leased"), hooks.Leased(time.Second), quickly(3))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	bad := []string{"error", "panic", "discard", "goexit", "sql"}
	createMany(t, db, append(append(labels(30, "a"), bad...), labels(30, "b")...)...)
	pubsubtest.Listen(t, db)
	drained(t, db)
	requireReceipts(t, db, bad...)
	letters := deadLetters(t, db)
	require.Len(t, letters, 4)
	require.Equal(t, []int{1, 2, 3}, attempts.take(t, 3))
	require.Empty(t, attempts)
	for i, want := range []struct {
		attempt int
		error   string
	}{{3, "not today"}, {3, "something is broken"}, {1, "never"}, {3, "Goexit"}} {
		require.Equal(t, want.attempt, letters[i].Attempt, bad[i])
		require.Contains(t, letters[i].Error, want.error)
	}
	require.Contains(t, letters[1].Stack, "failInDepth")
}
