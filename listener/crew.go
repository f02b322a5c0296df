package listener

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hardStop is how long functions have to return once their context is
// cancelled.
const hardStop = 5 * time.Second

// crew is the goroutines of one Run beside the one that receives.
type crew struct {
	config Config
	*run
	ctx     context.Context // of the functions: it outlives Run's, for a soft stop
	cancel  context.CancelCauseFunc
	group   sync.WaitGroup
	helpers sync.WaitGroup
	retire  context.CancelFunc // ends the helpers
	gaps    atomic.Int64       // calls of OnGap that are going on
}

// newCrew starts the workers and the housekeeping.
func newCrew(config Config, r *run) *crew {
	c := &crew{config: config, run: r}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	for _, q := range r.consumers {
		for range q.sub.concurrency {
			q.start(c.ctx, c.group.Go)
		}
	}
	for _, w := range r.workers {
		for range w.sub.concurrency {
			c.group.Go(func() { w.run(c.ctx, c.group.Go) })
		}
	}
	var ctx context.Context
	ctx, c.retire = context.WithCancel(context.Background())
	c.helpers.Go(func() {
		newPayloads(config.Pool, config.Schema).sweep(ctx, func(err error) {
			config.Logger.Warn("housekeeping failed", "error", err)
		})
	})
	if len(r.consumers) > 0 {
		c.helpers.Go(func() { r.schedule.run(ctx) })
		c.helpers.Go(func() {
			newKeeper(config, r.store, slices.ContainsFunc(r.consumers, func(q *consumer) bool { return q.sub.ordered })).run(ctx)
		})
	}
	return c
}

// report tells the application of a gap.
func (c *crew) report(gap Gap) {
	if c.config.OnGap == nil {
		return
	}
	c.gaps.Add(1)
	c.group.Go(func() {
		defer c.gaps.Add(-1)
		defer func() {
			if value := recover(); value != nil {
				c.config.Logger.Error("OnGap panicked", "error", fmt.Sprint(value), "stack", string(debug.Stack()))
			}
		}()
		c.config.OnGap(c.ctx, gap)
	})
}

// stop ends the crew's work, softly and then hard. It returns an error when a
// function goes on all the same.
func (c *crew) stop() error {
	c.retire()
	close(c.run.stop)
	c.handOver()
	for _, w := range c.workers {
		w.queue.close()
	}
	done := make(chan struct{})
	go func() { c.group.Wait(); close(done) }()
	finished := within(done, c.config.Grace)
	c.cancel(errors.New("the listener is stopping and the grace period is over"))
	if !finished {
		for _, w := range c.workers {
			w.queue.discard()
		}
		finished = within(done, hardStop)
	}
	c.helpers.Wait()
	c.handOver()

	var stuck []string
	for _, q := range c.consumers {
		if q.running.Load() > 0 {
			stuck = append(stuck, fmt.Sprintf("%s (declared at %s)", q.sub.name, q.sub.site))
		}
	}
	for _, w := range c.workers {
		h := w.health()
		if h.Dropped > 0 {
			w.log.Warn("broadcasts were dropped", "dropped", h.Dropped)
		}
		if h.Running > 0 {
			stuck = append(stuck, fmt.Sprintf("%s (declared at %s)", h.Name, w.sub.site))
		}
	}
	if c.gaps.Load() > 0 {
		stuck = append(stuck, "OnGap")
	}
	if !finished {
		return fmt.Errorf("%w %s after their contexts were cancelled: %s", ErrStillRunning, hardStop, strings.Join(stuck, ", "))
	}
	return nil
}

// handOver wakes the processes that have slept behind this one.
func (c *crew) handOver() {
	ctx, cancel := context.WithTimeout(context.Background(), hardStop)
	defer cancel()
	for _, channel := range c.durable() {
		if err := c.store.wake(ctx, c.config.Pool, channel); err != nil {
			c.config.Logger.Warn("other processes could not be told that this one stops; they find out within seconds", "error", err)
			return
		}
	}
}

// within reports whether done was closed within d.
func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
