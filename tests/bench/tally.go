package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// tally counts how often each event was handled. Events are known by their
// row's ID, which runs from 1 on in each database.
type tally struct {
	counts  []atomic.Uint32
	handled atomic.Int64
	strange atomic.Int64 // IDs that no row has

	mark              int64
	firstAt, markedAt atomic.Pointer[time.Time] // when handled reached 1 and mark

	since    time.Time
	arrivals []atomic.Int64 // if there are any: when each event came, in nanoseconds from since on
}

// newTally is for IDs from 1 to most.
func newTally(most int) *tally { return &tally{counts: make([]atomic.Uint32, most+1)} }

// newTimedTally keeps the time when each event came.
func newTimedTally(most int) *tally {
	t := newTally(most)
	t.since, t.arrivals = time.Now(), make([]atomic.Int64, most+1)
	return t
}

func (t *tally) add(id int64) {
	if id < 1 || id >= int64(len(t.counts)) {
		t.strange.Add(1)
		return
	}
	if t.arrivals != nil {
		t.arrivals[id].Store(int64(time.Since(t.since)))
	}
	t.counts[id].Add(1)
	n := t.handled.Add(1)
	if n == 1 || n == t.mark {
		now := time.Now()
		if n == 1 {
			t.firstAt.Store(&now)
		}
		if n == t.mark {
			t.markedAt.Store(&now)
		}
	}
}

// wait blocks until n events were handled and completed: that a handler ran is
// worth nothing before the queue has put it on disk.
func (t *tally) wait(ctx context.Context, q queue, n int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if t.handled.Load() >= int64(n) {
			done, err := q.drained(ctx, n)
			if done || err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case err := <-q.failed():
			return fmt.Errorf("after %d of %d events: %w", t.handled.Load(), n, err)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events were handled: %w", t.handled.Load(), n, ctx.Err())
		}
	}
}

// check fails unless each of the events from 1 to n was handled exactly once.
func (t *tally) check(n int) error {
	if strange := t.strange.Load(); strange > 0 {
		return fmt.Errorf("%d events were handled that nobody stored", strange)
	}
	wrong, first := 0, 0
	for id := 1; id < len(t.counts); id++ {
		want := uint32(1)
		if id > n {
			want = 0
		}
		if t.counts[id].Load() != want {
			if wrong++; wrong == 1 {
				first = id
			}
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d events were not handled exactly once; event %d %d times", wrong, n, first, t.counts[first].Load())
	}
	return nil
}
