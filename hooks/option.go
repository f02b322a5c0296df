package hooks

import (
	"fmt"
	"time"

	"github.com/gorm-pubsub/pubsub/listener"
)

// Option refines a declaration.
type Option func(*options)

type options struct {
	delivery []listener.Option
	channel  string
	columns  []string
	when     string
	problem  error
}

func (o *options) reject(format string, args ...any) {
	if o.problem == nil {
		o.problem = fmt.Errorf(format, args...)
	}
}

func deliver(opt listener.Option) Option {
	return func(o *options) { o.delivery = append(o.delivery, opt) }
}

// Name names the subscription. Defaults to the model's, the operation's and
// the function's name, such as "Author.insert.createFirstPost". Names are
// unique in a registry. A function literal has no name of its own, and needs one
// here when it is durable.
func Name(name string) Option { return deliver(listener.Name(name)) }

// In declares in the given registry instead of the default one.
func In(r *listener.Registry) Option { return deliver(listener.In(r)) }

// Broadcast delivers each event to every process that is listening, at most
// once, and not at all to a process that isn't. Without it delivery is durable.
func Broadcast() Option { return deliver(listener.Broadcast()) }

// Concurrency lets up to n calls run at once in each process. A durable listener
// uses as many connections of the pool. With more than 1 the order of events is
// lost, except for what Ordered keeps. Defaults to 1.
func Concurrency(n int) Option { return deliver(listener.Concurrency(n)) }

// Batch limits how many events are handled in one transaction, or handed to one
// call of a batch handler. The number follows from how long they take, so that a
// transaction lasts about 100 milliseconds; this is its upper limit, at most
// 5,000. Defaults to 1,000.
func Batch(n int) Option { return deliver(listener.Batch(n)) }

// Ordered keeps the order of events that have the same primary key: they are
// handled one at a time, in the order of their commits, over all processes. A key
// whose event waits for another attempt holds up no other key. An event that was
// given up on is passed over. An event of an update that changes the key belongs
// to the new one.
func Ordered() Option { return deliver(listener.Ordered()) }

// Leased is for functions that take long or call other systems. The event is
// reserved for d, which is extended while the function runs; the function runs
// outside of a transaction, and the event is removed once it has returned nil.
// When the process dies, another one takes the event as soon as the lease has run
// out. So the function is called at least once, and its own writes are not tied
// to the event's removal. At least 1 second.
func Leased(d time.Duration) Option { return deliver(listener.Leased(d)) }

// Retry says how often an event is tried, and when again. Defaults to 10 attempts,
// with pauses that double from 1 second up to 10 minutes.
func Retry(p listener.RetryPolicy) Option { return deliver(listener.Retry(p)) }

// Buffer is how many notifications may wait for the function in one process,
// each of at most 8,000 bytes and often with several events in it. What
// arrives when the buffer is full is dropped, with a warning. Defaults to
// 10,000.
func Buffer(n int) Option { return deliver(listener.Buffer(n)) }

// Timeout cancels the context of a call that takes longer. Zero, the default,
// means no limit.
func Timeout(d time.Duration) Option { return deliver(listener.Timeout(d)) }

// Channel names the notification channel, 1 to 63 bytes. Declarations that
// share a channel must ask for the same events of the same table.
//
// Defaults to the table's name and the operation, such as "authors_insert",
// with eight hexadecimal digits after it when Columns or When restrict the
// events, and when it would be longer than 63 bytes.
func Channel(name string) Option {
	return func(o *options) {
		if name == "" {
			o.reject("Channel: the name is empty")
		}
		o.channel = name
	}
}

// Columns restricts updates to those that change at least one of the columns,
// which are named as in the database or as the model's fields. Other
// operations of the declaration are not restricted.
func Columns(names ...string) Option {
	return func(o *options) {
		if len(names) == 0 {
			o.reject("Columns: no column is named")
		}
		o.columns = append(o.columns, names...)
	}
}

// When restricts the events to rows for which an SQL condition over NEW and
// OLD is true, such as "NEW.status = 'paid'". OLD is NULL in inserts, NEW in
// deletes. It is checked in the database, so that other rows cost no
// notification. Names of functions, operators and types are looked up in
// pg_catalog alone: qualify others with their schema.
func When(condition string) Option {
	return func(o *options) {
		if condition == "" {
			o.reject("When: the condition is empty")
		}
		o.when = condition
	}
}
