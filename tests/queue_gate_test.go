package tests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// prompt is when an event that was committed must have been handled, on a slow
// machine: sooner than who waits for the slow poll of 5 seconds.
const prompt = 2500 * time.Millisecond

// stopwatch notes when parcels were committed and when each subscription handled them.
type stopwatch struct {
	mu        sync.Mutex
	committed map[int64]time.Time
	handled   map[string]map[int64]time.Time
}

func newStopwatch() *stopwatch {
	return &stopwatch{committed: map[int64]time.Time{}, handled: map[string]map[int64]time.Time{}}
}

func (w *stopwatch) commit(at time.Time, ids ...int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.committed[id] = at
	}
}

func (w *stopwatch) handle(name string, id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.handled[name] == nil {
		w.handled[name] = map[int64]time.Time{}
	}
	if _, ok := w.handled[name][id]; !ok {
		w.handled[name][id] = time.Now()
	}
}

// missing counts the committed ones that the subscription hasn't handled.
func (w *stopwatch) missing(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.committed {
		if _, ok := w.handled[name][id]; !ok {
			n++
		}
	}
	return n
}

// check fails unless everything was handled in time.
func (w *stopwatch) check(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		within(t, soon, func() bool { return w.missing(name) == 0 }, "all are handled by "+name)
		w.mu.Lock()
		var worst time.Duration
		late := 0
		for id, at := range w.committed {
			d := w.handled[name][id].Sub(at)
			if worst = max(worst, d); d > prompt {
				late++
				if late <= 10 {
					t.Logf("%s: parcel %d was handled %s after its commit at %s", name, id, d, at.Format(time.StampMicro))
				}
			}
		}
		assert.Zero(t, late, "of %d events of %s came late, the worst after %s", len(w.committed), name, worst)
		t.Logf("%s: %d events, the slowest took %s", name, len(w.committed), worst)
		w.mu.Unlock()
	}
}

// watched declares a durable listener whose calls are noted.
func watched(r *listener.Registry, w *stopwatch, name string, slow func(p *parcel) time.Duration, opts ...hooks.Option) {
	hooks.OnInsert(&parcel{}, func(ctx context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		w.handle(name, p.New.ID)
		if d := slow(p.New); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
		}
		return nil
	}, append([]hooks.Option{hooks.In(r), hooks.Name(name)}, opts...)...)
}

func never(*parcel) time.Duration { return 0 }

// scribble writes single rows at random pace, long transactions and pauses in
// which everybody goes to sleep, and notes the commits.
func scribble(t *testing.T, db *gorm.DB, w *stopwatch, rounds int) {
	t.Helper()
	dsn := dsnOf(t, db)
	var group sync.WaitGroup
	one := func(conn *pgx.Conn, label string) bool {
		var id int64
		if err := conn.QueryRow(t.Context(), "INSERT INTO parcels (label, weight) VALUES ($1, 0) RETURNING id", label).Scan(&id); !assert.NoError(t, err) {
			return false
		}
		w.commit(time.Now(), id)
		return true
	}
	for n := range 3 {
		group.Go(func() {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.Background())
			for range rounds {
				for range 20 {
					if !one(conn, "single") {
						return
					}
					// From one right behind the other to long enough that all sleep.
					time.Sleep(rand.N(time.Duration(1+n)*[]time.Duration{0, 2, 10, 25}[rand.N(4)]*time.Millisecond/2 + 1))
				}
				time.Sleep(rand.N(100 * time.Millisecond))
			}
		})
	}
	group.Go(func() { // long transactions
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		for range (rounds + 5) / 6 {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			var ids []int64
			for range 2 {
				var id int64
				if err := tx.QueryRow(t.Context(), "INSERT INTO parcels (label, weight) VALUES ('long', 0) RETURNING id").Scan(&id); err != nil {
					t.Error(err)
					return
				}
				ids = append(ids, id)
				time.Sleep(500*time.Millisecond + rand.N(300*time.Millisecond))
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Error(err)
				return
			}
			w.commit(time.Now(), ids...)
		}
	})
	group.Wait()
	conn := writerSession(t, db)
	for range 5 { // while everybody sleeps
		asleep(t, db, "parcels_insert")
		one(conn, "alone")
	}
}

func TestQueueNobodyWaitsForTheSlowPoll(t *testing.T) {
	t.Parallel()
	r, w := hooks.NewRegistry(), newStopwatch()
	watched(r, w, "w", never)
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	for range 2 {
		r := hooks.NewRegistry()
		watched(r, w, "w", never, hooks.Concurrency(2))
		second, _ := another(t, db, r)
		pubsubtest.Listen(t, second)
	}
	scribble(t, db, w, 18)
	w.check(t, "w")
	drained(t, db)
}

// One process is busy with a slow function now and then; the others see to the
// rest.
func TestQueueSlowFunctionsHoldUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := newStopwatch()
	r := hooks.NewRegistry()
	slow := func(p *parcel) time.Duration {
		if p.Label == "long" {
			return 3 * time.Second
		}
		return 0
	}
	// What is claimed together with a slow one waits for it: see Batch.
	watched(r, w, "w", slow, hooks.Batch(1))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	for range 3 {
		r := hooks.NewRegistry()
		watched(r, w, "w", slow, hooks.Batch(1))
		second, _ := another(t, db, r)
		pubsubtest.Listen(t, second)
	}
	scribble(t, db, w, 12)
	w.check(t, "w")
}

// The process that slept so that writers woke it has taken an event, whose
// function takes long. Those that slept behind it must be woken by the next one.
func TestQueueSleepersTakeOver(t *testing.T) {
	t.Parallel()
	entered, release := newInbox[string](), make(chan struct{})
	var dbs []*gorm.DB
	for n := range 3 {
		r := hooks.NewRegistry()
		onParcelDurably(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
			entered <- label
			if label == "long" {
				<-release
			}
			return nil
		}, hooks.Batch(1))
		if n == 0 {
			db, _ := taped(t, r, []any{&parcel{}})
			dbs = append(dbs, db)
		} else {
			db, _ := another(t, dbs[0], r)
			dbs = append(dbs, db)
		}
		pubsubtest.Listen(t, dbs[n])
		within(t, soon, func() bool { return resting(t, dbs[0]) > n }, "it rests")
		asleep(t, dbs[0], "parcels_insert")
	}
	t.Cleanup(func() { close(release) })
	for n := range 2 { // two of the three are busy in the end
		create(t, dbs[0], "long")
		require.Equal(t, "long", entered.next(t))
		for m := range 5 {
			time.Sleep(time.Duration(m*50) * time.Millisecond)
			create(t, dbs[0], "short")
			select {
			case got := <-entered:
				require.Equal(t, "short", got)
			case <-time.After(prompt):
				require.FailNow(t, "an event waits for the slow poll", "event %d while %d of 3 processes are busy", m, n+1)
			}
		}
	}
}

// With Concurrency(2) a second worker of the process is there for what comes
// while the first one's function runs.
func TestQueueIdleWorkerTakesWhatComes(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"InTransaction": nil, "Leased": {hooks.Leased(30 * time.Second)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			entered, release := newInbox[string](), make(chan struct{})
			onParcelDurably(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
				entered <- label
				if label == "long" {
					<-release
				}
				return nil
			}, append(opts, hooks.Concurrency(2))...)
			db, _ := taped(t, r, []any{&parcel{}})
			pubsubtest.Listen(t, db)
			t.Cleanup(sync.OnceFunc(func() { close(release) }))
			asleep(t, db, "parcels_insert")
			create(t, db, "long")
			require.Equal(t, "long", entered.next(t))
			for n := range 5 {
				create(t, db, fmt.Sprint(n))
				select {
				case got := <-entered:
					require.Equal(t, fmt.Sprint(n), got)
				case <-time.After(prompt):
					require.FailNow(t, "nobody takes it", "event %d waits while a worker of the process is idle", n)
				}
			}
		})
	}
}

// onParcelDurably is onDurableParcel without the receipt.
func onParcelDurably(r *listener.Registry, name string, f func(ctx context.Context, tx *gorm.DB, label string) error, opts ...hooks.Option) {
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		return f(ctx, tx, p.New.Label)
	}, append([]hooks.Option{hooks.In(r), hooks.Name(name)}, opts...)...)
}

func TestQueueTwoSubscriptionsInTwoProcesses(t *testing.T) {
	t.Parallel()
	w := newStopwatch()
	a, b := hooks.NewRegistry(), hooks.NewRegistry()
	watched(a, w, "a", never)
	watched(b, w, "b", never)
	db, _ := taped(t, a, []any{&parcel{}})
	second, _ := another(t, db, b)
	require.NoError(t, pubsubtest.Of(t, second).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	pubsubtest.Listen(t, second)
	scribble(t, db, w, 6)
	w.check(t, "a", "b")
}

// One subscription's process has a lot to do, the other's sleeps and must be woken
// all the same.
func TestQueueBusyProcessKeepsNobodyAsleep(t *testing.T) {
	t.Parallel()
	w := newStopwatch()
	a, b := hooks.NewRegistry(), hooks.NewRegistry()
	watched(a, newStopwatch(), "busy", func(*parcel) time.Duration { return 10 * time.Millisecond })
	watched(b, w, "idle", never)
	db, _ := taped(t, a, []any{&parcel{}})
	second, _ := another(t, db, b)
	require.NoError(t, pubsubtest.Of(t, second).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	pubsubtest.Listen(t, second)
	createMany(t, db, labels(1000, "backlog")...)
	scribble(t, db, w, 3)
	w.check(t, "idle")
	require.Positive(t, left(t, db, "event"), "the other one is still busy")
}

// wakes counts the notifications that wake a channel's sleepers.
func wakes(t *testing.T, db *gorm.DB, channel string) (count func() int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsnOf(t, db))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "LISTEN pubsub_wake")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	seen, marks := 0, make(chan int, 10)
	go func() {
		defer close(done)
		for {
			n, err := conn.WaitForNotification(ctx)
			switch {
			case err != nil:
				_ = conn.Close(context.Background())
				return
			case n.Payload == channel:
				seen++
			case n.Payload == "the test's mark":
				marks <- seen
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() int {
		require.NoError(t, db.Exec("SELECT pg_notify('pubsub_wake', 'the test''s mark')").Error)
		return await(t, marks)
	}
}

func TestQueueBusyWorkersSpareWritersTheNotification(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	entered := make(chan struct{}, 100_000)
	onParcelDurably(r, "busy", func(context.Context, *gorm.DB, string) error {
		entered <- struct{}{}
		time.Sleep(time.Millisecond)
		return nil
	})
	db, _ := taped(t, r, []any{&parcel{}})
	count := wakes(t, db, "parcels_insert")
	pubsubtest.Listen(t, db)
	asleep(t, db, "parcels_insert")
	conn := writerSession(t, db)
	write(t, conn, "INSERT INTO parcels (label) VALUES ('wake up')")
	await(t, entered)
	require.Positive(t, count(), "who sleeps is told")
	write(t, conn, "INSERT INTO parcels (label) SELECT 'backlog' FROM generate_series(1, 20000)")
	for range 500 { // until it is at full speed
		await(t, entered)
	}
	before := count()
	for range 500 {
		write(t, conn, "INSERT INTO parcels (label) VALUES ('single')")
	}
	require.Positive(t, left(t, db, "event"), "there was something to do all the time")
	require.LessOrEqual(t, count()-before, 5, "notifications of 500 commits while workers were busy")
}

// declareGate is what a process of its own has.
func declareGate(r *listener.Registry) { watched(r, newStopwatch(), "w", never) }

// A process goes while all sleep.
func TestQueueSentinelGoes(t *testing.T) {
	t.Parallel()
	t.Run("Softly", func(t *testing.T) {
		t.Parallel()
		sentinelGoes(t, func(p *process) { p.stop(t) }, prompt)
	})
	t.Run("Killed", func(t *testing.T) {
		t.Parallel()
		sentinelGoes(t, (*process).kill, 7*time.Second)
	})
}

// resting counts the listening connections that have tried for a gate's lock, and
// rest.
func resting(t *testing.T, db *gorm.DB) int {
	t.Helper()
	return int(number(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
		AND state = 'idle' AND query LIKE '%pg_try_advisory_lock(%' AND pid <> pg_backend_pid()`))
}

func sentinelGoes(t *testing.T, end func(p *process), limit time.Duration) {
	t.Helper()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onParcelDurably(r, "w", in.put)
	db, _ := taped(t, r, []any{&parcel{}})
	p := startWorker(t, "gate", dsnOf(t, db))
	p.until(t, "ready")
	asleep(t, db, "parcels_insert")
	pubsubtest.Listen(t, db)
	within(t, soon, func() bool { return resting(t, db) == 2 }, "ours sleeps behind it")
	end(p)
	at := time.Now()
	create(t, db, "after")
	require.Equal(t, "after", in.next(t))
	require.Less(t, time.Since(at), limit)
	t.Log("handled after", time.Since(at))
}
