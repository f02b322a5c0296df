package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// softParcel is a parcel that is deleted softly.
type softParcel struct {
	ID        int64
	Label     string
	DeletedAt gorm.DeletedAt
}

func TestQueueBatchHandlers(t *testing.T) {
	t.Parallel()
	type payloads = []hooks.TriggerPayload[softParcel]
	r := hooks.NewRegistry()
	var mu sync.Mutex
	got := map[string][]string{}
	declare := func(name string) (hooks.BatchHandler[softParcel], hooks.Option, hooks.Option) {
		return func(_ context.Context, tx *gorm.DB, ps payloads) error {
			if len(ps) == 0 {
				return errors.New("there is nothing in it")
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range ps {
				id := int64(0)
				if p.New != nil {
					id = p.New.ID
				} else if p.Old != nil {
					id = p.Old.ID
				}
				got[name] = append(got[name], fmt.Sprint(p.Op, " ", id))
				if p.Attempt != 1 || p.EventID == 0 || p.CreatedAt.IsZero() {
					return errors.New("the payload isn't complete")
				}
			}
			return tx.Exec("SELECT 1").Error
		}, hooks.In(r), hooks.Name(name)
	}
	h, in, name := declare("insert")
	hooks.OnInsertBatch(&softParcel{}, h, in, name)
	h, in, name = declare("update")
	hooks.OnUpdateBatch(&softParcel{}, h, in, name)
	h, in, name = declare("delete")
	hooks.OnDeleteBatch(&softParcel{}, h, in, name)
	h, in, name = declare("save")
	hooks.OnSaveBatch(&softParcel{}, h, in, name)
	h, in, name = declare("soft")
	hooks.OnSoftDeleteBatch(&softParcel{}, h, in, name)
	h, in, name = declare("any")
	hooks.OnBatch(&softParcel{}, triggers.Insert|triggers.Update|triggers.Delete|triggers.Truncate, h, in, name)
	h, in, name = declare("leased")
	hooks.OnInsertBatch(&softParcel{}, h, in, name, hooks.Leased(time.Minute))
	db, _ := taped(t, r, []any{&softParcel{}})
	pubsubtest.Listen(t, db)
	rows := make([]softParcel, 30)
	require.NoError(t, db.Create(&rows).Error)
	require.NoError(t, db.Delete(&rows[0]).Error)
	require.NoError(t, db.Unscoped().Delete(&rows[1]).Error)
	require.NoError(t, db.Exec("TRUNCATE soft_parcels").Error)
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
	var inserts []string
	for n := range 30 {
		inserts = append(inserts, fmt.Sprint("insert ", n+1))
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, inserts, got["insert"])
	require.Equal(t, inserts, got["leased"])
	require.Equal(t, []string{"update 1"}, got["update"])
	require.Equal(t, []string{"delete 2"}, got["delete"])
	require.Equal(t, append(slices.Clone(inserts), "update 1"), got["save"])
	require.Equal(t, []string{"update 1"}, got["soft"])
	require.Equal(t, append(slices.Clone(inserts), "update 1", "delete 2", "truncate 0"), got["any"])
}

// A batch has what its limit allows, in order; what can't be decoded is left out;
// an error has the events handled one by one.
func TestQueueBatchOfAll(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"InTransaction": nil, "Leased": {hooks.Leased(time.Minute)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit, rows = 40, 500
			r := hooks.NewRegistry()
			var mu sync.Mutex
			var order []int64
			largest, single := 0, 0
			hooks.OnInsertBatch(&parcel{}, func(_ context.Context, tx *gorm.DB, ps []hooks.TriggerPayload[parcel]) error {
				mu.Lock()
				defer mu.Unlock()
				largest = max(largest, len(ps))
				var all []receipt
				bad := false
				for _, p := range ps {
					all = append(all, receipt{ParcelID: p.New.ID})
					bad = bad || p.New.Label == "x333"
				}
				if bad {
					if len(ps) == 1 {
						single++
					}
					return errors.New("one of them is bad")
				}
				for _, p := range ps {
					order = append(order, p.New.ID)
				}
				return tx.Create(&all).Error
			}, append(opts, hooks.In(r), hooks.Name("batch"), hooks.Batch(limit), quickly(2))...)
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
			createMany(t, db, labels(rows, "x")...)
			spoil(t, db, "7", "x0", "x100", "x222", "x499")
			pubsubtest.Listen(t, db)
			drained(t, db)
			requireReceipts(t, db, "x0", "x100", "x222", "x499", "x333")
			letters := deadLetters(t, db)
			require.Len(t, letters, 5)
			for _, l := range letters {
				if l.Payload == "7" {
					require.Equal(t, 1, l.Attempt)
				} else {
					require.Equal(t, 2, l.Attempt)
					require.Contains(t, l.Error, "one of them is bad")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			require.True(t, slices.IsSorted(order))
			require.Equal(t, limit, largest)
			require.Positive(t, single, "it was called alone in the end")
			require.EqualValues(t, rows-5, counters(t, db, "batch").Handled)
			require.EqualValues(t, 5, counters(t, db, "batch").Dead)
		})
	}
}

// Slow functions make short transactions, quick ones long batches.
func TestQueueTransactionsStayShort(t *testing.T) {
	t.Parallel()
	const rows = 60
	r := hooks.NewRegistry()
	var mu sync.Mutex
	of := map[string]int{} // events by transaction
	slow := true
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		var id string
		if err := tx.Raw("SELECT pg_current_xact_id()::text").Scan(&id).Error; err != nil {
			return err
		}
		mu.Lock()
		of[id]++
		s := slow
		mu.Unlock()
		if s {
			time.Sleep(30 * time.Millisecond)
		}
		return nil
	}, hooks.In(r), hooks.Name("d"))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	createMany(t, db, labels(rows, "slow")...)
	drained(t, db)
	mu.Lock()
	for id, n := range of {
		require.LessOrEqual(t, n, 6, "events of 30 ms in transaction %s, for about 100 ms", id)
	}
	clear(of)
	slow = false
	mu.Unlock()
	createMany(t, db, labels(5000, "quick")...)
	drained(t, db)
	mu.Lock()
	defer mu.Unlock()
	require.Less(t, len(of), 1000, "transactions for 5,000 quick ones")
	t.Log(len(of), "transactions for 5,000 quick ones")
}

// A slow event at the start of a batch doesn't keep the others for itself.
func TestQueueOthersTakeWhatASlowOneLeaves(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	var most, now atomic.Int64
	hooks.OnInsert(&parcel{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old; old = most.Load() {
			if most.CompareAndSwap(old, n) {
				break
			}
		}
		if p.New.Label == "slow" {
			time.Sleep(50 * time.Millisecond)
		}
		return tx.Create(&receipt{ParcelID: p.New.ID}).Error
	}, hooks.In(r), hooks.Name("d"), hooks.Concurrency(3))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	pubsubtest.Listen(t, db)
	createMany(t, db, slices.Repeat([]string{"slow"}, 60)...)
	at := time.Now()
	drained(t, db)
	requireReceipts(t, db)
	require.EqualValues(t, 3, most.Load(), "as many at once as Concurrency allows, and no more")
	require.Less(t, time.Since(at), 60*50*time.Millisecond, "they share the work")
}

// What a batch's rollback undoes is not counted as handled.
func TestQueueCounters(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := calls(r, "d", func(int) error { return listener.Discard(errors.New("no")) })
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	createMany(t, db, append(append(labels(70, "a"), "bad"), labels(70, "b")...)...)
	pubsubtest.Listen(t, db)
	drained(t, db)
	comesTrue(t, func() bool { return counters(t, db, "d").Handled == 140 }, "handled")
	require.Equal(t, listener.SubscriptionHealth{Name: "d", Channel: "parcels_insert", Durable: true, Handled: 140, Failed: 1, Dead: 1}, counters(t, db, "d"))
	require.NotEmpty(t, in)
}
