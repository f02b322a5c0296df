package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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

// trail is what the functions of ordered events leave, in their order.
type trail struct {
	ID       int64
	ParcelID int64
	Weight   int64
}

// What these keys' events do, by the weight that the update has given.
const (
	failingKey, failingWeight     = 3, 4 // fails until its third attempt
	discardedKey, discardedWeight = 5, 6 // is given up on
)

func TestQueueOrder(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{
		"InTransaction": nil, "Leased": {hooks.Leased(time.Minute)}, "SmallBatches": {hooks.Batch(3)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const keys, writers, each = 20, 4, 150
			declared := func() *listener.Registry { return hooks.NewRegistry() }
			var mu sync.Mutex
			var problems []string
			problem := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, fmt.Sprintf(format, args...))
			}
			var running [keys + 1]atomic.Bool
			var others atomic.Int64 // handled while the failing key waits
			var waits atomic.Bool
			handle := func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				id, weight := p.New.ID, p.New.Weight
				if !running[id].CompareAndSwap(false, true) {
					problem("two of key %d at once", id)
				}
				defer running[id].Store(false)
				var last int64
				pool := tx.Statement.ConnPool
				if err := pool.QueryRowContext(ctx, "SELECT COALESCE(max(weight), 0) FROM trails WHERE parcel_id = $1", id).Scan(&last); err != nil {
					return err
				}
				before := weight - 1
				if id == discardedKey && before == discardedWeight {
					before--
				}
				if last != before {
					problem("key %d: %d comes after %d", id, weight, last)
				}
				switch {
				case id == failingKey && weight == failingWeight && p.Attempt < 3:
					waits.Store(true)
					return errors.New("not yet")
				case id == failingKey && weight == failingWeight:
					waits.Store(false)
				case id == discardedKey && weight == discardedWeight:
					return listener.Discard(errors.New("never"))
				case waits.Load():
					others.Add(1)
				}
				_, err := pool.ExecContext(ctx, "INSERT INTO trails (parcel_id, weight) VALUES ($1, $2)", id, weight)
				return err
			}
			options := append(opts, hooks.Name("ordered"), hooks.Ordered(), hooks.Concurrency(2),
				hooks.Retry(listener.RetryPolicy{First: 300 * time.Millisecond, Last: 300 * time.Millisecond}))
			r := declared()
			hooks.OnUpdate(&parcel{}, handle, append(options, hooks.In(r))...)
			db, _ := taped(t, r, []any{&parcel{}, &trail{}})
			createMany(t, db, labels(keys, "key")...)
			pubsubtest.Listen(t, db)
			for range 2 {
				r := declared()
				hooks.OnUpdate(&parcel{}, handle, append(options, hooks.In(r))...)
				second, _ := another(t, db, r)
				pubsubtest.Listen(t, second)
			}
			var group sync.WaitGroup
			for range writers {
				group.Go(func() {
					conn, err := pgx.Connect(t.Context(), dsnOf(t, db))
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close(context.Background())
					for n := range each {
						query, args := "UPDATE parcels SET weight = weight + 1 WHERE id = $1", []any{1 + rand.N(keys)}
						if n%10 == 0 {
							query, args = "WITH l AS (SELECT id FROM parcels WHERE id % 3 = $1 ORDER BY id FOR UPDATE) UPDATE parcels SET weight = weight + 1 WHERE id IN (SELECT id FROM l)", []any{rand.N(3)}
						}
						if _, err := conn.Exec(t.Context(), query, args...); !assert.NoError(t, err) {
							return
						}
					}
				})
			}
			group.Wait()
			drained(t, db)
			mu.Lock()
			found := problems
			mu.Unlock()
			require.Empty(t, found)
			var wrong []string
			require.NoError(t, db.Raw(`SELECT p.id || ' ' || p.weight || ': ' || COALESCE(string_agg(t.weight::text, ' ' ORDER BY t.id), '') FROM parcels p LEFT JOIN trails t ON t.parcel_id = p.id
				GROUP BY p.id HAVING array_agg(t.weight ORDER BY t.id) <> ARRAY(SELECT n FROM generate_series(1, p.weight) AS n WHERE p.id <> ? OR n <> ?)`, discardedKey, discardedWeight).Scan(&wrong).Error)
			require.Empty(t, wrong, "keys whose events were not handled in order, once each")
			letters := deadLetters(t, db)
			require.Len(t, letters, 1)
			require.Positive(t, others.Load(), "a key that waits holds up no other")
		})
	}
}

// A key that waits long holds up its own events, and no others.
func TestQueueOrderedKeyWaits(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[parcel]()
	var failing atomic.Bool
	failing.Store(true)
	hooks.OnSave(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		if p.New.Label == "stuck" && failing.Load() {
			return listener.RetryAfter(1500*time.Millisecond, errors.New("no"))
		}
		in <- *p.New
		return nil
	}, hooks.In(r), hooks.Name("ordered"), hooks.Ordered())
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	stuck := parcel{Label: "stuck"}
	require.NoError(t, db.Create(&stuck).Error)
	comesTrue(t, func() bool { return counters(t, db, "ordered").Failed == 1 }, "it fails")
	require.NoError(t, db.Model(&stuck).Updates(map[string]any{"label": "free", "weight": 1}).Error)
	createMany(t, db, labels(50, "x")...)
	for _, p := range in.take(t, 50) {
		require.NotEqual(t, stuck.ID, p.ID, "not before the one that failed")
	}
	within(t, time.Second, func() bool { return left(t, db, "event") == 2 }, "the two of the key wait")
	failing.Store(false)
	require.Equal(t, "stuck", in.next(t).Label)
	require.Equal(t, "free", in.next(t).Label)
	drained(t, db)
}

// All events of an ordered typed channel keep their order, whoever handles them.
func TestQueueOrderedChannel(t *testing.T) {
	t.Parallel()
	const values = 300
	var mu sync.Mutex
	var got []int
	declare := func() (*listener.Registry, *listener.Channel[int]) {
		r := hooks.NewRegistry()
		c := listener.NewChannel[int]("news", listener.In(r), listener.Ordered(), listener.Concurrency(3),
			listener.Retry(listener.RetryPolicy{First: 50 * time.Millisecond, Last: 50 * time.Millisecond}))
		failed := false
		c.Listen(func(_ context.Context, _ *gorm.DB, v int) error {
			mu.Lock()
			defer mu.Unlock()
			if v == 100 && !failed {
				failed = true
				return errors.New("once more")
			}
			if len(got) > 0 && got[len(got)-1] == v {
				return nil // once more, since another one of the batch has failed
			}
			for len(got) > 0 && got[len(got)-1] >= v { // what was rolled back
				got = got[:len(got)-1]
			}
			got = append(got, v)
			return nil
		}, listener.Name("news"))
		return r, c
	}
	r, c := declare()
	db, _ := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	r2, _ := declare()
	second, _ := another(t, db, r2)
	pubsubtest.Listen(t, second)
	var want []int
	for n := range values {
		require.NoError(t, c.Notify(t.Context(), db, n))
		want = append(want, n)
	}
	drained(t, db)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, want, got)
}
