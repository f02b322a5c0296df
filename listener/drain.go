package listener

import (
	"context"
	"errors"
	"fmt"
)

// Drain handles what waits in the queue, in the caller's goroutine, until nothing
// is ready any more, and returns how many it took, each attempt counted. What
// functions cause meanwhile is handled, too; what is scheduled for later is left.
// It needs no listening connection, and broadcasts are no part of it.
//
// The error joins those of the functions; their events are tried again or are dead
// letters, as ever. Drain is for tests, and for programs that run now and then.
func (l *Listener) Drain(ctx context.Context) (int, error) {
	r, err := l.open(ctx, nil)
	if err != nil {
		return 0, err
	}
	var failures []error
	for _, c := range r.consumers {
		c.onFailure = func(err error) { failures = append(failures, fmt.Errorf("listener %q: %w", c.sub.name, err)) }
	}
	for {
		if _, _, err := r.store.promote(ctx, l.config.DB); err != nil {
			return attempts(r.consumers), errors.Join(append(failures, err)...)
		}
		found := false
		for _, c := range r.consumers {
			for {
				b, more, err := c.claim(ctx)
				if err == nil && b != nil {
					found = true
					err = b.handle(ctx)
				}
				if err != nil {
					return attempts(r.consumers), errors.Join(append(failures, err)...)
				}
				if b == nil && !more {
					break
				}
			}
		}
		if !found {
			return attempts(r.consumers), errors.Join(failures...)
		}
	}
}

// attempts returns how many events were handled, well or not.
func attempts(consumers []*consumer) (n int) {
	for _, c := range consumers {
		n += int(c.handled.Load() + c.failed.Load())
	}
	return n
}
