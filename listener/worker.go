package listener

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// worker runs one subscription's function on what its queue holds.
type worker struct {
	sub      *Subscription
	channel  string
	wire     string // the channel's name in Postgres
	handle   Handler
	queue    *queue
	db       *gorm.DB
	payloads payloads
	log      *slog.Logger

	running, handled, failed, lost atomic.Int64
	lastDropWarning                atomic.Int64 // unix nanoseconds
}

// dropWarning is how often at the most a full buffer is warned of.
const dropWarning = 10 * time.Second

// offer puts a notification into the queue. It never blocks.
func (w *worker) offer(i item) {
	if w.queue.push(i) {
		return
	}
	last, now := w.lastDropWarning.Load(), i.arrived.UnixNano()
	if now-last < int64(dropWarning) || !w.lastDropWarning.CompareAndSwap(last, now) {
		return
	}
	_, dropped := w.queue.stats()
	w.log.Warn("broadcasts are dropped since the function is too slow: its buffer is full", "dropped", dropped, "buffer", w.sub.buffer)
}

// run works until the queue is closed and empty. ctx is the functions' own: it
// outlives the connection, for a soft stop. A function that ends its goroutine,
// as a test's FailNow does, doesn't end the work: again starts a goroutine for
// the rest.
func (w *worker) run(ctx context.Context, again func(func())) {
	var rest []item
	finished := false
	defer func() {
		if !finished {
			w.queue.giveBack(rest)
			again(func() { w.run(ctx, again) })
		}
	}()
	d := &delivery{worker: w, ctx: ctx}
	d.each = d.deliver
	d.renew()
	if w.sub.concurrency > 1 {
		for {
			i, ok := w.queue.takeOne()
			if !ok {
				finished = true
				return
			}
			d.message(i)
		}
	}
	var items []item
	for {
		if items = w.queue.takeAll(items); len(items) == 0 {
			finished = true
			return
		}
		for n, i := range items {
			rest = items[n+1:]
			if ctx.Err() != nil { // a hard stop
				w.queue.drop(len(items) - n)
				finished = true
				return
			}
			w.queue.begin()
			d.message(i)
		}
	}
}

// delivery is one goroutine's work for a worker.
type delivery struct {
	*worker
	ctx     context.Context
	session *gorm.DB
	each    Deliver // deliver, made once
	current Message
}

// message hands one notification to the handler.
func (d *delivery) message(i item) {
	m := parse(d.channel, i.payload, i.arrived)
	if m.stored {
		var err error
		if m, err = d.payloads.fetch(d.ctx, d.wire, m); err != nil {
			d.fail(m, err)
			return
		}
	}
	m.Generation, m.Pool = i.generation, d.payloads.pool
	if m.lost != "" {
		d.lost.Add(1)
		d.log.Error("a trigger failed and its statement's events are lost; the writer was warned of the cause: after a change of the table run Migrate again",
			"event_id", m.ID, "op", m.Op.String(), "sqlstate", strings.Trim(m.lost, `"`))
		return
	}
	d.current = m
	if err := d.split(m); err != nil {
		d.fail(m, err)
	}
}

// split has the handler deliver the message's events. The error is a panic of
// its own.
func (d *delivery) split(m Message) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	d.handle(d.ctx, []Message{m}, d.each)
	return nil
}

// renew makes the session that calls get. An error that a function leaves in
// it must not be the next one's.
func (d *delivery) renew() {
	d.session = d.db.Session(&gorm.Session{NewDB: true, Context: d.ctx})
}

// deliver is the handler's Deliver.
func (d *delivery) deliver(_ int, call Call, err error) bool {
	if err == nil {
		err = d.call(call)
	}
	if err != nil {
		d.fail(d.current, err)
	} else {
		d.handled.Add(1)
	}
	return true
}

// call runs the declared function once, within its time.
func (d *delivery) call(call Call) error {
	d.running.Add(1)
	defer d.running.Add(-1)
	ctx, session := d.ctx, d.session
	if c := d.current.Context; c != "" {
		ctx = triggers.WithEventContext(ctx, c)
		session = session.WithContext(ctx)
	}
	err := invoke(ctx, session, d.sub.timeout, call, func() { d.fail(d.current, errGoexit) })
	if d.session.Error != nil {
		d.renew()
	}
	return err
}

// fail counts and logs what went wrong with an event. Its content is not
// logged.
func (d *delivery) fail(m Message, err error) {
	defer d.failed.Add(1) // who waits for the count finds the record
	attributes := []any{"event_id", m.ID, "error", err}
	if m.Op != 0 {
		attributes = append(attributes, "op", m.Op.String())
	}
	var p *panicError
	if errors.As(err, &p) {
		attributes = append(attributes, "stack", string(p.stack))
	}
	d.log.Error("a listener failed", attributes...)
}

func (w *worker) health() SubscriptionHealth {
	waiting, dropped := w.queue.stats()
	return SubscriptionHealth{
		Name: w.sub.name, Channel: w.channel, Waiting: waiting, Running: w.running.Load(),
		Handled: w.handled.Load(), Failed: w.failed.Load(), Dropped: dropped, Lost: w.lost.Load(),
	}
}
