package tests

import (
	"context"
	"errors"
	"sync"
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

// nothingHeld fails unless all sessions rest and have none of our locks.
func nothingHeld(t *testing.T, db *gorm.DB) {
	t.Helper()
	within(t, 2*time.Second, func() bool {
		return number(t, db, `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
			WHERE l.locktype = 'advisory' AND l.classid = ?`, triggers.Gate) == 0
	}, "no lock of ours")
	within(t, 2*time.Second, func() bool {
		return number(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND (xact_start IS NOT NULL OR application_name = 'pubsub listener') AND backend_type = 'client backend'`) == 0
	}, "no transaction and no listening connection")
}

func TestQueueSoftStop(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"One": nil, "Several": {hooks.Concurrency(3)}, "Ordered": {hooks.Ordered()}, "Leased": {hooks.Leased(time.Minute)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			entered, release := newInbox[string](), make(chan struct{})
			onDurableParcel(r, "soft", func(ctx context.Context, _ *gorm.DB, label string) error {
				if label == "x150" {
					entered <- label
					<-release
				}
				return ctx.Err()
			}, opts...)
			db, log := taped(t, r, []any{&parcel{}, &receipt{}})
			createMany(t, db, labels(5000, "x")...)
			stop, ended := listenUntil(t, pubsubtest.Of(t, db))
			letGo := sync.OnceFunc(func() { close(release) })
			t.Cleanup(letGo)
			entered.next(t)
			stop()
			time.AfterFunc(100*time.Millisecond, letGo)
			at := time.Now()
			require.NoError(t, await(t, ended))
			require.Less(t, time.Since(at), 5*time.Second)
			nothingHeld(t, db)
			require.EqualValues(t, 1, number(t, db, "SELECT count(*) FROM receipts r JOIN parcels p ON p.id = r.parcel_id WHERE p.label = 'x150'"), "what ran has ended")
			require.EqualValues(t, 5000, left(t, db, "event")+receipts(t, db))
			require.Zero(t, number(t, db, "SELECT count(*) FROM pubsub.event WHERE run_at IS NOT NULL OR attempt <> 0 OR lease IS NOT NULL"), "the rest is as it was")
			require.Empty(t, deadLetters(t, db))
			c := counters(t, db, "soft")
			require.Equal(t, receipts(t, db), c.Handled)
			require.Zero(t, c.Failed+c.Running+c.Dead+c.Late)
			require.NotContains(t, log.String(), `"level":"ERROR"`)
			pubsubtest.Listen(t, db) // once more
			drained(t, db)
			requireReceipts(t, db)
		})
	}
}

func TestQueueHardStop(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts  []hooks.Option
		inSQL bool
	}{
		"InTransaction": {}, "InSQL": {nil, true}, "Several": {[]hooks.Option{hooks.Concurrency(3)}, false}, "Ordered": {[]hooks.Option{hooks.Ordered()}, true},
		"Leased": {[]hooks.Option{hooks.Leased(time.Minute)}, false}, "LeasedInSQL": {[]hooks.Option{hooks.Leased(time.Minute)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const grace = 200 * time.Millisecond
			r := hooks.NewRegistry()
			entered, causes := newInbox[string](), newInbox[error]()
			hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				err := tx.Create(&receipt{ParcelID: p.New.ID}).Error
				if p.New.Label != "x50" || err != nil {
					return err
				}
				entered <- p.New.Label
				if c.inSQL {
					err = tx.Exec("SELECT pg_sleep(60)").Error
				} else {
					<-ctx.Done()
				}
				causes <- context.Cause(ctx)
				return errors.Join(err, ctx.Err())
			}, append(c.opts, hooks.In(r), hooks.Name("hard"), hooks.Retry(listener.RetryPolicy{Attempts: 1}))...)
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}}, pubsub.Grace(grace))
			createMany(t, db, labels(100, "x")...)
			stop, ended := listenUntil(t, pubsubtest.Of(t, db))
			entered.next(t)
			stop()
			at := time.Now()
			require.ErrorContains(t, causes.next(t), "grace period")
			require.GreaterOrEqual(t, time.Since(at), grace-20*time.Millisecond)
			require.NoError(t, await(t, ended))
			nothingHeld(t, db)
			require.Empty(t, deadLetters(t, db), "a stop is no failed attempt")
			require.Zero(t, number(t, db, "SELECT count(*) FROM pubsub.event WHERE run_at IS NOT NULL OR attempt <> 0 OR lease IS NOT NULL"))
			require.EqualValues(t, 1, number(t, db, "SELECT count(*) FROM pubsub.event AS e CROSS JOIN LATERAL pubsub.members(e.id, e.packed, e.payload) AS m WHERE m.member->>'label' = 'x50'"), "what was interrupted is there again")
			if c.opts == nil || name == "Ordered" || name == "Several" {
				require.Zero(t, number(t, db, "SELECT count(*) FROM receipts r JOIN parcels p ON p.id = r.parcel_id WHERE p.label = 'x50'"), "and its writes aren't")
				require.EqualValues(t, 100, left(t, db, "event")+receipts(t, db))
			}
		})
	}
}

// Processes come and go while events are written.
func TestQueueComingAndGoing(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Concurrency(2))
	onParcelDurably(r, "leased", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Leased(time.Minute))
	db, log := taped(t, r, []any{&parcel{}, &receipt{}})
	quit := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				db.Create(&[]parcel{{Label: "a"}, {Label: "b"}})
			}
		}
	})
	for n := range 12 {
		stop, ended := listenUntil(t, pubsubtest.Of(t, db))
		time.Sleep(time.Duration(n*7) * time.Millisecond)
		stop()
		require.NoError(t, await(t, ended))
	}
	close(quit)
	writer.Wait()
	nothingHeld(t, db)
	require.Zero(t, number(t, db, "SELECT count(*) FROM pubsub.event WHERE run_at IS NOT NULL"), "no lease is left")
	pubsubtest.Listen(t, db)
	drained(t, db)
	requireReceipts(t, db)
	require.Empty(t, deadLetters(t, db))
	require.NotContains(t, log.String(), `"level":"ERROR"`)
}
