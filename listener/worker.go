package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// worker runs one subscription's function on what its queue holds.
type worker struct {
	sub      *Subscription
	channel  string
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
// outlives the connection, for a soft stop.
func (w *worker) run(ctx context.Context) {
	d := &delivery{worker: w, ctx: ctx, session: w.db.Session(&gorm.Session{NewDB: true, Context: ctx})}
	d.each = d.deliver
	if w.sub.concurrency > 1 {
		for {
			i, ok := w.queue.takeOne()
			if !ok {
				return
			}
			d.message(i)
		}
	}
	var items []item
	for {
		if items = w.queue.takeAll(items); len(items) == 0 {
			return
		}
		for n, i := range items {
			if ctx.Err() != nil { // a hard stop
				w.queue.drop(len(items) - n)
				return
			}
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
		if m, err = d.payloads.fetch(d.ctx, m); err != nil {
			d.fail(m, err)
			return
		}
	}
	if m.lost != "" {
		d.lost.Add(1)
		var reason string
		_ = json.Unmarshal([]byte(m.lost), &reason)
		d.log.Error("the trigger could not tell what happened, and the event is lost: run Migrate again", "event_id", m.ID, "op", m.Op, "error", reason)
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
	defer caught(&err)
	d.handle(d.ctx, m, d.each)
	return nil
}

// deliver is the handler's Deliver.
func (d *delivery) deliver(call func(context.Context, *gorm.DB) error, err error) {
	if err == nil {
		err = d.call(call)
	}
	if err != nil {
		d.fail(d.current, err)
		return
	}
	d.handled.Add(1)
}

// call runs the declared function once, within its time.
func (d *delivery) call(call func(context.Context, *gorm.DB) error) (err error) {
	d.running.Add(1)
	defer d.running.Add(-1)
	defer caught(&err)
	if d.sub.timeout == 0 {
		return call(d.ctx, d.session)
	}
	ctx, cancel := context.WithTimeoutCause(d.ctx, d.sub.timeout, fmt.Errorf("the function took longer than its timeout of %s", d.sub.timeout))
	defer cancel()
	return call(ctx, d.session.WithContext(ctx))
}

// panicError is a function's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// caught, deferred, turns a panic into an error.
func caught(err *error) {
	if value := recover(); value != nil {
		*err = &panicError{value: value, stack: debug.Stack()}
	}
}

// fail counts and logs what went wrong with an event. Its content is not
// logged.
func (d *delivery) fail(m Message, err error) {
	d.failed.Add(1)
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
