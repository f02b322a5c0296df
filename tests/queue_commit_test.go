package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// What a durable function registers for after the commit is called after that of the
// transaction that has removed its event, once for each event, and what it wrote is
// there for everybody.
func TestQueueAfterCommit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []hooks.Option
		tx   bool // functions run in a transaction
	}{
		"InTransaction": {nil, true}, "Ordered": {[]hooks.Option{hooks.Ordered()}, true}, "Several": {[]hooks.Option{hooks.Concurrency(3)}, true},
		"Leased": {[]hooks.Option{hooks.Leased(time.Minute)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			committed, rolledBack := newInbox[string](), newInbox[string]()
			var db *gorm.DB
			hooks.OnInsert(&parcel{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				err := errors.Join(
					tx.Create(&receipt{ParcelID: p.New.ID}).Error,
					hooks.AfterCommit(tx, func(ctx context.Context) {
						var n int64
						if err := db.WithContext(ctx).Model(&receipt{}).Where("parcel_id = ?", p.New.ID).Count(&n).Error; err != nil || n < 1 {
							t.Errorf("after the commit there are %d receipts of %s, %v", n, p.New.Label, err)
						}
						committed <- p.New.Label
					}),
					hooks.AfterRollback(tx, func(context.Context) { rolledBack <- p.New.Label }),
					tx.Transaction(func(tx *gorm.DB) error {
						return hooks.AfterCommit(tx, func(context.Context) { committed <- p.New.Label + ", nested" })
					}),
				)
				undone := tx.Transaction(func(tx *gorm.DB) error {
					err := hooks.AfterCommit(tx, func(context.Context) { t.Error("what was rolled back has a hook") })
					if err != nil {
						return err
					}
					return errNotYet
				})
				switch {
				case err != nil:
					return err
				case !errors.Is(undone, errNotYet):
					return undone
				case p.New.Label == "bad" && p.Attempt == 1:
					return errNotYet
				}
				return nil
			}, append(c.opts, hooks.In(r), hooks.Name("d"), quickly(2))...)
			db, _ = taped(t, r, []any{&parcel{}, &receipt{}})
			create(t, db, "first", "bad")
			createMany(t, db, labels(30, "x")...)
			pubsubtest.Listen(t, db)
			drained(t, db)
			want := []string{"first", "first, nested", "bad", "bad, nested"}
			for i := range 30 {
				want = append(want, fmt.Sprint("x", i), fmt.Sprint("x", i, ", nested"))
			}
			if !c.tx { // without a transaction they are called at once, whatever comes after
				want = append(want, "bad", "bad, nested")
			}
			got := committed.take(t, len(want))
			slices.Sort(got)
			slices.Sort(want)
			require.Equal(t, want, got)
			if c.tx {
				label := ""
				for label != "bad" { // others of its batch may come before it
					label = rolledBack.next(t)
				}
				requireReceipts(t, db)
			}
		})
	}
}

var errNotYet = errors.New("not yet")
