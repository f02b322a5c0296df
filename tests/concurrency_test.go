package tests

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

func TestConcurrency(t *testing.T) {
	t.Parallel()
	const at, events = 4, 40
	r := hooks.NewRegistry()
	var running, most atomic.Int64
	barrier := make(chan chan struct{})
	done := newInbox[string]()
	onParcel(r, "c", func(ctx context.Context, _ *gorm.DB, label string) error {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			seen := most.Load()
			if n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		pass := make(chan struct{})
		select {
		case barrier <- pass:
			<-pass
		case <-ctx.Done():
		}
		done <- label
		return nil
	}, hooks.Concurrency(at))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	for range events {
		create(t, db, "x")
	}
	for range events / at { // each round needs as many calls at once
		var waiting []chan struct{}
		for range at {
			waiting = append(waiting, await(t, barrier))
		}
		require.EqualValues(t, at, counters(t, db, "c").Running)
		for _, pass := range waiting {
			close(pass)
		}
	}
	done.take(t, events)
	require.EqualValues(t, at, most.Load())
	comesTrue(t, func() bool { return counters(t, db, "c").Handled == events }, "each once")
}

func TestCommitOrder(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 400
	r := hooks.NewRegistry()
	in := newInbox[int64]()
	hooks.OnUpdate(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		in <- p.New.Weight
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("order"))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	p := parcel{Label: "the only one"}
	require.NoError(t, db.Create(&p).Error)
	failures := make(chan error, writers)
	for range writers { // the row's lock puts their commits in order
		go func() {
			var err error
			for range each {
				if err == nil {
					err = db.Exec("UPDATE parcels SET weight = weight + 1 WHERE id = ?", p.ID).Error
				}
			}
			failures <- err
		}()
	}
	for range writers {
		require.NoError(t, await(t, failures))
	}
	for n, weight := range in.take(t, writers*each) {
		require.EqualValues(t, n+1, weight)
	}
}
