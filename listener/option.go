package listener

import (
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
	timeout     time.Duration
	problem     error
}

const defaultBuffer = 10_000

func newSettings(opts []Option) settings {
	s := settings{registry: DefaultRegistry, concurrency: 1, buffer: defaultBuffer}
	for _, opt := range opts {
		opt(&s)
	}
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
// once, and not at all to a process that isn't.
func Broadcast() Option { return func(s *settings) { s.broadcast = true } }

// Concurrency lets up to n of the subscription's calls run at once in each
// process. With more than 1 the order of events is lost. Defaults to 1.
func Concurrency(n int) Option {
	return func(s *settings) {
		if n < 1 {
			s.reject("Concurrency(%d): at least 1 is needed", n)
		}
		s.concurrency = n
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
