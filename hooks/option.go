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
// unique in a registry.
func Name(name string) Option { return deliver(listener.Name(name)) }

// In declares in the given registry instead of the default one.
func In(r *listener.Registry) Option { return deliver(listener.In(r)) }

// Broadcast delivers each event to every process that is listening, at most
// once, and not at all to a process that isn't.
func Broadcast() Option { return deliver(listener.Broadcast()) }

// Concurrency lets up to n calls run at once in each process. With more than 1
// the order of events is lost. Defaults to 1.
func Concurrency(n int) Option { return deliver(listener.Concurrency(n)) }

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
