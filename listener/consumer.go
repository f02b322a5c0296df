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

	"github.com/gorm-pubsub/pubsub/triggers"
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

	pace    *pace
	density atomic.Int32 // how many events a row of the table stood for, last
	// unpipelined: the pool's connections can't begin and claim in one go.
	unpipelined atomic.Bool
	mark        mark
	watches     chan *watch     // the one watch, when nobody has it
	again       atomic.Bool     // the watch is to look at once
	stop        <-chan struct{} // closed by a soft stop

	quitters struct {
		sync.Mutex
		events []event // whose functions have ended their goroutines
	}

	onFailure func(error) // gets what functions return; optional

	running, handled, failed, dead, late atomic.Int64
	failures                             atomic.Int64 // attempts to reach the database that failed in a row
}

// How long a worker waits until it looks again.
const (
	slowPoll  = 5 * time.Second        // when writers will wake it
	firstPoll = 5 * time.Millisecond   // when they won't: growing as long as nothing is found,
	lastPoll  = 25 * time.Millisecond  // up to this under load, when looking takes long,
	workShare = 15                     // so that it takes no more than a fifteenth of the time,
	busyPoll  = 100 * time.Millisecond // if only a transaction is in the way,
	blindPoll = time.Second            // without a listening connection
	// calm is how long a worker must have slept to count as idle, and busy how
	// long it must not have been idle before writers are told that nobody sleeps.
	// Events that come one by one, at up to some hundred a second, are notified
	// of and handled at once; of more than that a worker takes several at a time.
	calm = 5 * time.Millisecond
	busy = 20 * time.Millisecond
)

// watch is the state of the one worker of a subscription that looks at the queue
// and sleeps at the gate. Who has found something hands it on before it calls the
// function, so that others go on looking.
type watch struct {
	arming int64 // that the watch relies on, 0 for none
	idle   time.Time
	pause  time.Duration // until the next look, while the gate is open
	epoch  int64         // of the gate, before the last look
	found  bool          // something, the last time
	more   bool          // there may be more
	cost   time.Duration // of the last look

	unattended *time.Timer // opens the gate when nobody takes the watch
}

// work works until the soft stop.
func (c *consumer) work(ctx context.Context) {
	for {
		var w *watch
		select {
		case w = <-c.watches:
		case <-c.stop:
			return
		}
		if w.unattended != nil {
			w.unattended.Stop()
		}
		b := c.look(ctx, w)
		if b == nil { // a stop
			if w.arming != 0 {
				c.gate.rise()
			}
			return
		}
		if w.arming != 0 {
			w.unattended = time.AfterFunc(busy, c.open)
		}
		c.watches <- w
		if err := b.handle(ctx); err != nil {
			c.outage(ctx, err)
		}
		if c.sub.ordered { // what follows the events of this batch may be taken now
			c.lookSoon()
		}
	}
}

// open opens the gate when every worker has been busy for a while: nobody sleeps,
// and writers need not notify.
func (c *consumer) open() {
	select {
	case w := <-c.watches:
		if w.arming != 0 {
			w.arming, w.pause, w.more = 0, firstPoll, true
			c.gate.rise()
		}
		c.watches <- w
	default:
	}
}

// look waits for events until it has claimed some, or returns nil for a stop.
func (c *consumer) look(ctx context.Context, w *watch) batch {
	for !c.stopping() && ctx.Err() == nil {
		if !w.more && !c.again.Swap(false) {
			if c.rest(w); c.stopping() {
				return nil
			}
		}
		w.epoch = c.gate.now()
		start := time.Now()
		b, more, err := c.claim(ctx)
		w.cost = time.Since(start)
		if w.more = more || err != nil; err != nil {
			c.outage(ctx, err)
			continue
		}
		c.failures.Store(0)
		w.found = b != nil
		switch {
		case w.arming == 0:
		case !c.gate.armed(w.arming):
			w.arming, w.pause = 0, busyPoll
			c.gate.rise()
		case w.found && time.Since(w.idle) > busy:
			w.arming, w.pause = 0, firstPoll
			c.gate.rise()
		}
		if w.found {
			return b
		}
	}
	return nil
}

// rest waits until it is time to look again.
func (c *consumer) rest(w *watch) {
	switch {
	case w.arming != 0:
		// Whatever was stored since the claim changes the epoch.
		slept := time.Now()
		c.gate.wait(w.epoch, slowPoll, c.stop)
		c.gate.doubt()
		if time.Since(slept) > calm {
			w.idle = time.Now()
		}
	case w.found:
		// What writers pay for is a worker that looks all the time for the few
		// events that have come since: so it does for some of its time only.
		w.pause = firstPoll
		c.gate.wait(w.epoch, min(max(firstPoll, workShare*w.cost), lastPoll), c.stop)
	default:
		limit := busyPoll
		if w.pause > calm {
			var reachable bool
			if w.arming, reachable = c.gate.arm(); w.arming != 0 {
				w.idle = time.Now()
				return // to look once more
			}
			if !reachable {
				limit = blindPoll
			}
		}
		c.gate.wait(w.epoch, w.pause, c.stop)
		w.pause = min(2*w.pause, limit)
	}
}

// lookAgain has the watch look at once: events have returned to the queue.
func (c *consumer) lookAgain() {
	c.mark.back()
	c.lookSoon()
}

func (c *consumer) lookSoon() {
	c.again.Store(true)
	c.gate.wake()
}

// start works in a goroutine of the group. A function that ends its goroutine, as
// a test's FailNow does, doesn't end the work.
func (c *consumer) start(ctx context.Context, group func(func())) {
	group(func() {
		finished := false
		defer func() {
			if !finished {
				c.start(ctx, group)
			}
		}()
		c.quitters.Lock()
		events := c.quitters.events
		c.quitters.events = nil
		c.quitters.Unlock()
		for _, e := range events {
			if err := c.record(ctx, e, errGoexit); err != nil {
				c.log.Warn("a failed attempt could not be recorded", "event_id", e.id, "error", err)
			}
		}
		c.work(ctx)
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

func (c *consumer) stopping() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// outage waits for a database that doesn't answer, longer each time.
func (c *consumer) outage(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	times := c.failures.Add(1)
	if times == 1 {
		c.log.Warn("the queue can't be worked on; trying again", "error", err)
	}
	pause := time.NewTimer(min(firstPoll<<min(times, 12), lastPause))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-c.stop:
	case <-ctx.Done():
	}
}

// batch is a number of claimed events.
type batch interface {
	// handle handles them. The error is the database's.
	handle(ctx context.Context) error
}

// claim claims a batch, and returns nil when there is nothing, and whether there
// may be more.
func (c *consumer) claim(ctx context.Context) (b batch, more bool, err error) {
	if c.sub.lease > 0 {
		return c.claimLease(ctx)
	}
	return c.claimTransaction(ctx)
}

// claimed learns what a claim has found, and returns whether there may be more.
func (c *consumer) claimed(from int64, events []event, full bool, cost time.Duration) (more bool) {
	last := int64(0)
	if n := len(events); n > 0 {
		last = events[n-1].id
		if c.sub.ordered { // the mark is a key
			for _, e := range events {
				last = max(last, e.key.Int64)
			}
		}
	}
	c.mark.claimed(from, last, full, cost)
	return full || from != c.mark.start // below the mark
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

// call has the handler deliver events. session is what the functions get, pool what
// decoding may ask. proceed is asked before each call but the first.
func (c *consumer) call(ctx context.Context, session *gorm.DB, pool gorm.ConnPool, events []event, proceed func() bool) (t tally) {
	messages := make([]Message, 0, len(events))
	index := make([]int, 0, len(events)) // of messages in events
	now, generation := time.Now(), c.generation.Load()
	for i := range events {
		if err := events[i].trouble(); err != nil {
			t.refused = append(t.refused, refusal{events[i], err})
			continue
		}
		messages = append(messages, events[i].message(c.channel, now, generation, pool))
		index = append(index, i)
	}
	done := make([]bool, len(messages))
	var own *gorm.DB
	var guarded *guard
	shared := ctx // by all events; each may have a context of its own
	invokeIn := func(call Call, which ...event) error {
		ctx := shared
		if len(which) == 1 {
			ctx = triggers.WithEventContext(ctx, triggers.EventContext(which[0].context))
		}
		c.running.Add(1)
		defer c.running.Add(-1)
		if own == nil || own.Error != nil { // an earlier call's error is not the next one's
			own = session.Session(&gorm.Session{NewDB: true, Context: shared})
			if _, running := own.Statement.ConnPool.(gorm.TxCommitter); running {
				guarded = &guard{ConnPool: own.Statement.ConnPool}
				own.Statement.ConnPool = guarded
			}
		}
		if guarded != nil {
			defer guarded.tidy()
		}
		session := own
		if len(which) == 1 && which[0].context != "" {
			session = own.WithContext(ctx)
		}
		return invoke(ctx, session, c.sub.timeout, call, func() { c.quit(which...) })
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
	defer c.failed.Add(1) // who waits for the count finds the record
	if c.onFailure != nil {
		c.onFailure(fmt.Errorf("event %d, attempt %d: %w", e.id, e.failed+1, err))
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
	defer c.dead.Add(1)
	c.log.Error("a listener failed; the event is among the dead letters", attributes...)
}

func (c *consumer) health() SubscriptionHealth {
	return SubscriptionHealth{
		Name: c.sub.name, Channel: c.channel, Durable: true, Running: c.running.Load(),
		Handled: c.handled.Load(), Failed: c.failed.Load(), Dead: c.dead.Load(), Late: c.late.Load(),
	}
}
