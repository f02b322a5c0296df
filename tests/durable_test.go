package tests

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// receipt is what durable functions write through tx, without a constraint that
// would hide that one was written twice.
type receipt struct {
	ID       int64
	ParcelID int64
}

// onDurableParcel declares a durable listener on inserts that only wants to see
// labels.
func onDurableParcel(r *listener.Registry, name string, f func(ctx context.Context, tx *gorm.DB, label string) error, opts ...hooks.Option) {
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		if err := tx.Create(&receipt{ParcelID: p.New.ID}).Error; err != nil {
			return err
		}
		return f(ctx, tx, p.New.Label)
	}, append([]hooks.Option{hooks.In(r), hooks.Name(name)}, opts...)...)
}

func receipts(t *testing.T, db *gorm.DB) int64 {
	t.Helper()
	var n int64
	require.NoError(t, db.Model(&receipt{}).Count(&n).Error)
	return n
}

// left counts what the queue's table holds.
func left(t *testing.T, db *gorm.DB, table string) int64 {
	t.Helper()
	var n int64
	query := "SELECT count(*) FROM pubsub." + table
	if table == "event" {
		query = "SELECT COALESCE(sum(COALESCE(packed, 1)), 0) FROM pubsub.event"
	}
	require.NoError(t, db.Raw(query).Scan(&n).Error)
	return n
}

func TestDurableOutlivesAbsence(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onDurableParcel(r, "d", in.put)
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	var want []string
	for i := range 250 {
		want = append(want, fmt.Sprint("before ", i))
	}
	create(t, db, want...)
	require.EqualValues(t, 250, left(t, db, "event"))
	pubsubtest.Listen(t, db)
	require.Equal(t, want, in.take(t, 250))
	create(t, db, "after")
	require.Equal(t, []string{"after"}, in.take(t, 1))
	comesTrue(t, func() bool { return left(t, db, "event") == 0 }, "the queue")
	require.EqualValues(t, 251, receipts(t, db))
}

func TestDurableFailureIsRetriedThenDead(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onDurableParcel(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
		in <- label
		if label == "bad" {
			return errors.New("not today")
		}
		return nil
	}, hooks.Retry(listener.RetryPolicy{Attempts: 3, First: 1000, Last: 1000}))
	db, log := taped(t, r, []any{&parcel{}, &receipt{}})
	create(t, db, "one", "bad", "two")
	pubsubtest.Listen(t, db)
	comesTrue(t, func() bool { return left(t, db, "event") == 0 && left(t, db, "dead_event") == 1 }, "the queue")
	require.EqualValues(t, 2, receipts(t, db))
	require.Equal(t, listener.SubscriptionHealth{Name: "d", Channel: "parcels_insert", Durable: true, Handled: 2, Failed: 3, Dead: 1}, counters(t, db, "d"))
	_ = log
}
