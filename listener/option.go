package listener

import (
	"cmp"
	"fmt"
	"time"
)

// Option sets how a subscription's events are delivered. Given to NewChannel
// it holds for all of that channel's subscriptions.
type Option func(*settings)

type settings struct {
	name        string
	registry    *Registry
	broadcast   bool
	concurrency int
	buffer      int
	batch       int
	ordered     bool
	lease       time.Duration
	retry       RetryPolicy
	timeout     time.Duration
	problem     error
}

const (
	defaultBuffer = 10_000
	defaultBatch  = 1_000
)

func newSettings(opts []Option) settings {
	s := settings{registry: DefaultRegistry, concurrency: 1}
	for _, opt := range opts {
		opt(&s)
	}
	if s.broadcast {
		for name, given := range map[string]bool{"Ordered": s.ordered, "Leased": s.lease > 0, "Retry": s.retry != RetryPolicy{}, "Batch": s.batch > 0} {
			if given {
				s.reject("%s belongs to durable delivery, and the listener has Broadcast", name)
			}
		}
	} else if s.buffer > 0 {
		s.reject("Buffer belongs to broadcast delivery: add Broadcast, or leave it out")
	}
	s.buffer, s.batch, s.retry = cmp.Or(s.buffer, defaultBuffer), cmp.Or(s.batch, defaultBatch), s.retry.withDefaults()
	return s
}

func (s *settings) reject(format string, args ...any) {
	if s.problem == nil {
		s.problem = fmt.Errorf(format, args...)
	}
}

// Name names the subscription. Defaults to a name made of what is listened to
// and the function's name. An empty name is an error.
func Name(name string) Option {
	return func(s *settings) {
		if name == "" {
			s.reject("Name: the name is empty")
		}
		s.name = name
	}
}

// In declares in the given registry instead of DefaultRegistry.
func In(r *Registry) Option {
	return func(s *settings) {
		if r == nil {
			s.reject("In: the registry is nil")
			return
		}
		s.registry = r
	}
}

// Broadcast delivers each event to every process that is listening, at most
// once, and not at all to a process that isn't. Without it delivery is durable.
func Broadcast() Option { return func(s *settings) { s.broadcast = true } }

// Concurrency lets up to n of the subscription's calls run at once in each
// process. A durable subscription uses as many connections of the pool. With
// more than 1 the order of events is lost, except for what Ordered keeps.
// Defaults to 1.
func Concurrency(n int) Option {
	return func(s *settings) {
		if n < 1 {
			s.reject("Concurrency(%d): at least 1 is needed", n)
		}
		s.concurrency = n
	}
}

// Batch limits how many events are handled in one transaction, or handed to one
// call of a batch handler. The number follows from how long they take, so that a
// transaction lasts about 100 milliseconds; this is its upper limit. Defaults to
// 1,000.
func Batch(n int) Option {
	return func(s *settings) {
		if n < 1 || n > maxBatch {
			s.reject("Batch(%d): it is 1 to %d", n, maxBatch)
			return
		}
		s.batch = n
	}
}

const maxBatch = 5_000

// Ordered keeps the order of events that have the same primary key: they are
// handled one at a time, in the order of their commits, over all processes. A
// key whose event waits for another attempt holds up no other key. An event
// that was given up on is passed over. A typed channel has no keys, and all its
// events keep their order.
func Ordered() Option { return func(s *settings) { s.ordered = true } }

// Leased is for functions that take long or call other systems. The event is
// reserved for d, which is extended while the function runs; the function runs
// outside of a transaction, and the event is removed once it has returned nil.
// When the process dies, another one takes the event as soon as the lease has run
// out. So the function is called at least once, and its own writes are not tied
// to the event's removal. At least 1 second.
func Leased(d time.Duration) Option {
	return func(s *settings) {
		if d < time.Second {
			s.reject("Leased(%s): at least 1 second is needed", d)
			return
		}
		s.lease = d
	}
}

// Retry says how often an event is tried, and when again. Defaults to the zero
// RetryPolicy.
func Retry(p RetryPolicy) Option {
	return func(s *settings) {
		if err := p.check(); err != nil {
			s.reject("Retry: %v", err)
			return
		}
		s.retry = p
	}
}

// Buffer is how many notifications may wait for the subscription's function in
// one process. One notification is at most 8,000 bytes and may carry several
// events. What arrives when the buffer is full is dropped, with a warning.
// Defaults to 10,000.
func Buffer(n int) Option {
	return func(s *settings) {
		if n < 1 {
			s.reject("Buffer(%d): at least 1 is needed", n)
		}
		s.buffer = n
	}
}

// Timeout cancels the context of a call that takes longer. A function that
// ignores its context goes on, and keeps its place. Zero, the default, means
// no limit.
func Timeout(d time.Duration) Option {
	return func(s *settings) {
		if d < 0 {
			s.reject("Timeout(%s): it can't be negative", d)
		}
		s.timeout = d
	}
}
