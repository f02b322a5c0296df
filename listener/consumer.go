package listener

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// consumer handles one durable subscription's events in this process.
type consumer struct {
	sub        *Subscription
	id         int32
	channel    string
	handle     Handler
	whole      bool // the handler calls its function for all messages at once
	db         *gorm.DB
	pool       gorm.ConnPool
	store      *store
	gate       *gate
	schedule   *schedule
	generation *atomic.Int64
	log        *slog.Logger

	pace *pace
	mark mark
	more chan struct{}   // asks one more worker to take part
	stop <-chan struct{} // closed by a soft stop

	quitters struct {
		sync.Mutex
		events []event // whose functions have ended their goroutines
	}

	failures func(error) // gets what functions return; optional

	running, handled, failed, dead, late atomic.Int64
	outage                               atomic.Int64 // attempts to reach the database that failed in a row
}

// How long a worker waits until it looks again.
const (
	slowPoll  = 5 * time.Second        // when writers will wake it
	firstPoll = 2 * time.Millisecond   // when they won't: growing as long as nothing is found,
	busyPoll  = 100 * time.Millisecond // if only a transaction is in the way,
	blindPoll = time.Second            // without a listening connection
	// calm is how long a worker must have slept to count as idle, and busy how
	// long it must not have been idle before writers are told that nobody sleeps.
	// Events that come one by one, at up to some hundred a second, are notified
	// of and handled at once; of more than that a worker takes several at a time.
	calm = 5 * time.Millisecond
	busy = 20 * time.Millisecond
)

// run works until the soft stop: the first worker of the subscription, which
// sleeps at the gate.
func (c *consumer) run(ctx context.Context) {
	relies, woken, pause := false, false, busyPoll
	var idle time.Time // when the worker was last idle
	defer func() {
		if relies {
			c.gate.rise(!woken)
		}
	}()
	for !c.stopping() {
		epoch := c.gate.now()
		n, more := c.round(ctx)
		switch {
		case relies && (!c.gate.armed() || n > 0 && time.Since(idle) > busy):
			relies, pause = false, firstPoll
			c.gate.rise(!woken)
		case more:
		case relies:
			// Whatever was stored since the claim changes the epoch.
			slept := time.Now()
			if woken = c.gate.wait(epoch, slowPoll, c.stop); !woken {
				c.gate.doubt()
			}
			if time.Since(slept) > calm {
				idle = time.Now()
			}
		case n > 0:
			pause = firstPoll
			c.gate.wait(epoch, pause, c.stop)
		default:
			limit := busyPoll
			if pause > calm {
				var reachable bool
				if relies, reachable = c.gate.arm(); relies {
					idle = time.Now()
					break // to look once more
				}
				if !reachable {
					limit = blindPoll
				}
			}
			c.gate.wait(epoch, pause, c.stop)
			pause = min(2*pause, limit)
		}
	}
}

// start runs work in goroutines of the group. A function that ends its goroutine,
// as a test's FailNow does, doesn't end the work.
func (c *consumer) start(ctx context.Context, group func(func()), work func(context.Context)) {
	group(func() {
		finished := false
		defer func() {
			if !finished {
				c.start(ctx, group, work)
			}
		}()
		c.quitters.Lock()
		events := c.quitters.events
		c.quitters.events = nil
		c.quitters.Unlock()
		for _, e := range events {
			if err := c.record(ctx, e.id, errGoexit); err != nil {
				c.log.Warn("a failed attempt could not be recorded", "event_id", e.id, "error", err)
			}
		}
		work(ctx)
		finished = true
	})
}

// quit remembers events whose function is ending its goroutine.
func (c *consumer) quit(events ...event) {
	if c.sub.lease > 0 {
		return // the lease sees to it
	}
	c.quitters.Lock()
	defer c.quitters.Unlock()
	c.quitters.events = append(c.quitters.events, events...)
}

// assist works whenever there is more than the first worker can do, until the
// soft stop.
func (c *consumer) assist(ctx context.Context) {
	for {
		select {
		case <-c.more:
			for more := true; more && !c.stopping(); {
				_, more = c.round(ctx)
			}
		case <-c.stop:
			return
		}
	}
}

func (c *consumer) stopping() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// round handles a batch, and returns how many events it took and whether there
// may be more. A database that doesn't answer is waited for.
func (c *consumer) round(ctx context.Context) (n int, more bool) {
	n, more, err := c.once(ctx)
	if err == nil {
		c.outage.Store(0)
		return n, more
	}
	if ctx.Err() != nil {
		return 0, false
	}
	times := c.outage.Add(1)
	if times == 1 {
		c.log.Warn("the queue can't be worked on; trying again", "error", err)
	}
	pause := time.NewTimer(min(firstPause<<min(times-1, 10), lastPause))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-c.stop:
	case <-ctx.Done():
	}
	return 0, true
}

// once handles a batch, and returns how many events it took and whether there may
// be more.
func (c *consumer) once(ctx context.Context) (n int, more bool, err error) {
	if c.sub.lease > 0 {
		return c.leased(ctx)
	}
	return c.batch(ctx)
}

// claimed learns what a claim has found, and asks for help when there is more. It
// returns whether there may be.
func (c *consumer) claimed(from int64, events []event, asked int, cost time.Duration) (more bool) {
	full := len(events) >= asked
	last := int64(0)
	if len(events) > 0 {
		last = events[len(events)-1].id
	}
	c.mark.claimed(from, last, full, cost)
	if full {
		c.askForHelp()
	}
	return full || from > 0 // below the mark
}

func (c *consumer) askForHelp() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// tally is what became of a batch's events.
type tally struct {
	handled int
	refused []refusal // not to be handled at all
	left    []event   // not begun, since the time was up
	culprit *event    // whose function failed, nil when it was called for several
	err     error     // of the function
}

// refusal is an event that can't be handled, such as one that can't be decoded.
type refusal struct {
	event event
	err   error
}

// call has the handler deliver events. session is what the functions get. proceed
// is asked before each call but the first.
func (c *consumer) call(ctx context.Context, session *gorm.DB, events []event, proceed func() bool) (t tally) {
	messages := make([]Message, 0, len(events))
	index := make([]int, 0, len(events)) // of messages in events
	now, generation := time.Now(), c.generation.Load()
	for i := range events {
		if err := events[i].trouble(); err != nil {
			t.refused = append(t.refused, refusal{events[i], err})
			continue
		}
		messages = append(messages, events[i].message(c.channel, now, generation))
		index = append(index, i)
	}
	done := make([]bool, len(messages))
	var own *gorm.DB
	invokeIn := func(call Call, which ...event) error {
		c.running.Add(1)
		defer c.running.Add(-1)
		if own == nil || own.Error != nil { // an earlier call's error is not the next one's
			own = session.Session(&gorm.Session{NewDB: true, Context: ctx})
		}
		return invoke(ctx, own, c.sub.timeout, call, func() { c.quit(which...) })
	}
	deliver := func(which int, call Call, err error) bool {
		if which == All {
			if t.err = invokeIn(call, events...); t.err != nil {
				if len(messages) == 1 {
					t.culprit = &events[index[0]]
				}
				return false
			}
			for i := range done {
				if !done[i] {
					done[i] = true
					t.handled++
				}
			}
			return true
		}
		e := &events[index[which]]
		if err != nil {
			done[which] = true
			t.refused = append(t.refused, refusal{*e, err})
			return true
		}
		if t.handled > 0 && !proceed() {
			return false
		}
		if t.err = invokeIn(call, *e); t.err != nil {
			t.culprit = e
			return false
		}
		done[which] = true
		t.handled++
		return true
	}
	if err := split(ctx, c.handle, messages, deliver); err != nil {
		t.err = err
	}
	if t.err == nil {
		for i := range done {
			if !done[i] {
				t.left = append(t.left, events[index[i]])
			}
		}
	}
	return t
}

// split has the handler deliver the messages' events. The error is a panic of
// its own.
func split(ctx context.Context, handle Handler, messages []Message, deliver Deliver) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	if len(messages) > 0 {
		handle(ctx, messages, deliver)
	}
	return nil
}

// report logs a failure. The event's content is not logged.
func (c *consumer) report(e *event, err error, again bool, pause time.Duration) {
	c.failed.Add(1)
	if c.failures != nil {
		c.failures(fmt.Errorf("event %d, attempt %d: %w", e.id, e.failed+1, err))
	}
	attributes := []any{"event_id", e.id, "attempt", e.failed + 1, "error", err}
	if e.op != "" {
		attributes = append(attributes, "op", e.op)
	}
	if stack := stackOf(err); stack != "" {
		attributes = append(attributes, "stack", stack)
	}
	if again {
		c.log.Warn("a listener failed; the event is tried again", append(attributes, "in", pause)...)
		return
	}
	c.dead.Add(1)
	c.log.Error("a listener failed; the event is among the dead letters", attributes...)
}

func (c *consumer) health() SubscriptionHealth {
	return SubscriptionHealth{
		Name: c.sub.name, Channel: c.channel, Durable: true, Running: c.running.Load(),
		Handled: c.handled.Load(), Failed: c.failed.Load(), Dead: c.dead.Load(), Late: c.late.Load(),
	}
}
