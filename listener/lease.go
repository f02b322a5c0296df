package listener

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
)

// claimLease claims events for the lease's time.
func (c *consumer) claimLease(ctx context.Context) (b batch, more bool, err error) {
	asked, from := c.pace.next(), c.mark.from(time.Now())
	l := &lease{consumer: c, asked: asked, number: rand.Int64()} //nolint:gosec // tells leases apart
	start := time.Now()
	if l.pending, err = c.store.lease(ctx, c, from, asked, l.number); err != nil {
		return nil, false, err
	}
	if more = c.claimed(from, l.pending, len(l.pending) >= asked, time.Since(start)); len(l.pending) == 0 {
		return nil, more, nil
	}
	return l, more, nil
}

// lease is a batch of events that is reserved for a worker. What is held is
// extended until the lease is closed.
type lease struct {
	*consumer
	number  int64 // tells the lease from others
	asked   int
	pending []event // whose functions were not called yet
	done    []int64 // whose functions have returned nil
	split   bool    // a call for several has failed: each gets its own, to find those that fail

	mu      sync.Mutex
	current []event // whose function is being called
	cancel  context.CancelCauseFunc
}

// handle handles the events, outside of a transaction, as long as a batch may last,
// and gives the rest back.
func (l *lease) handle(ctx context.Context) error {
	asked := min(l.asked, len(l.pending))
	keeping, stop := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keep(keeping) })
	defer func() { // also when a function ends this goroutine
		stop()
		keeper.Wait()
		l.close(ctx)
	}()
	start, handled := time.Now(), 0
	for len(l.pending) > 0 && !l.stopping() && ctx.Err() == nil && (handled == 0 || l.split || time.Since(start) < target) {
		n := 1
		if l.whole && !l.split {
			n = len(l.pending)
		}
		l.some(ctx, l.pending[:n])
		handled += n
	}
	l.pace.took(handled, asked, time.Since(start))
	return nil
}

var errSpent = errors.New("the lease of the last attempt ran out, too: the process died, or the function never returned")

// some calls the function for the first of the pending events, which part is.
func (l *lease) some(ctx context.Context, part []event) {
	during, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.calling(part, cancel)
	var spent []refusal
	var events []event
	for _, e := range part {
		// A lease that ran out has used up an attempt.
		if e.failed >= l.sub.retry.Attempts {
			e.failed-- // this one doesn't count
			spent = append(spent, refusal{e, errSpent})
			continue
		}
		events = append(events, e)
	}
	session := l.db.Session(&gorm.Session{NewDB: true, Context: during})
	t := l.call(during, session, l.pool, events, func() bool { return true })
	again := t.err != nil && (len(events) > 1 || ctx.Err() != nil) // one by one, or after a hard stop
	if again {
		t.refused = nil
	}
	for _, r := range append(spent, t.refused...) {
		l.fail(ctx, r.event, Discard(r.err))
		events = slices.DeleteFunc(events, func(e event) bool { return e.id == r.event.id })
	}
	if t.err != nil && !again {
		l.fail(ctx, events[0], t.err)
		events = nil
	}
	l.called(events, again)
}

// calling marks the first of the pending events as those whose function is being
// called.
func (l *lease) calling(part []event, cancel context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.cancel, l.pending = part, cancel, l.pending[len(part):]
}

// called says that the function has returned, and that the events are done, or to
// be handled again.
func (l *lease) called(events []event, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.cancel = nil, nil
	if again {
		l.pending, l.split = append(events, l.pending...), true
		return
	}
	for _, e := range events {
		l.done = append(l.done, e.id)
	}
}

// keep extends what is held, three times in a lease, until ctx ends. When the
// event whose function is being called is lost, the function's context ends.
func (l *lease) keep(ctx context.Context) {
	tick := time.NewTicker(l.sub.lease / 3)
	defer tick.Stop()
	deadline := time.Now().Add(l.sub.lease)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		current, ids := l.current, slices.Clone(l.done)
		for _, e := range slices.Concat(l.current, l.pending) {
			ids = append(ids, e.id)
		}
		l.mu.Unlock()
		asked := time.Now()
		attempt, cancel := context.WithTimeout(ctx, l.sub.lease/3)
		kept, err := l.store.extended(attempt, l.consumer, l.number, ids)
		cancel()
		if err == nil {
			deadline = asked.Add(l.sub.lease)
		}
		lost := err == nil && slices.ContainsFunc(current, func(e event) bool { return !slices.Contains(kept, e.id) })
		if lost || time.Now().After(deadline) {
			l.mu.Lock()
			if len(current) > 0 && len(l.current) > 0 && l.current[0].id == current[0].id {
				l.cancel(ErrLeaseLost)
			}
			l.mu.Unlock()
		}
	}
}

// fail records a failed attempt.
func (l *lease) fail(ctx context.Context, e event, cause error) {
	ctx, stop := after(ctx)
	defer stop()
	pause, again := l.sub.retry.next(e.failed+1, cause)
	var ids []int64
	var err error
	if again {
		ids, err = l.store.leasedAgain(ctx, l.consumer, l.number, e.id, pause, cause)
	} else {
		ids, err = l.store.leasedDie(ctx, l.consumer, l.number, e.id, e.failed+1, cause)
	}
	switch {
	case err != nil:
		l.log.Warn("a failed attempt could not be recorded; the event is tried again when its lease has run out", "event_id", e.id, "error", err)
		return
	case len(ids) == 0: // the event is somebody else's now
		l.tooLate(1)
		return
	case again:
		l.schedule.due(pause)
	}
	l.report(&e, cause, again, pause)
}

// close completes what is done and gives back what was not begun.
func (l *lease) close(ctx context.Context) {
	ctx, stop := after(ctx)
	defer stop()
	l.mu.Lock()
	interrupted := l.current
	l.mu.Unlock()
	for _, e := range interrupted {
		l.fail(ctx, e, errGoexit)
	}
	if len(l.done) > 0 {
		ids, err := l.store.completed(ctx, l.consumer, l.number, l.done)
		switch {
		case err != nil:
			l.log.Warn("handled events could not be removed; they are handled again when their lease has run out", "events", len(l.done), "error", err)
		case len(ids) < len(l.done):
			l.tooLate(len(l.done) - len(ids))
		}
		l.handled.Add(int64(len(ids)))
	}
	if len(l.pending) == 0 {
		return
	}
	ids := make([]int64, len(l.pending))
	for i, e := range l.pending {
		ids[i] = e.id
	}
	if err := l.store.released(ctx, l.consumer, l.number, ids); err != nil {
		l.log.Warn("events could not be given back; they are handled when their lease has run out", "events", len(ids), "error", err)
	}
	l.lookAgain()
}

// tooLate counts and reports completions that were refused.
func (l *lease) tooLate(n int) {
	l.late.Add(int64(n))
	l.log.Warn("the lease ran out before the function returned; the event is or was handled again", "events", n, "lease", l.sub.lease)
}

// after returns a context for what has to be written even though ctx may have
// ended.
func after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), hardStop)
}
