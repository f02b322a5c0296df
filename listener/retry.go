package listener

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how often an event is tried, and when again. The pause after
// the first failure is First; it doubles with each further one, up to Last, and
// is then varied by up to a tenth either way, so that what failed together
// doesn't return together. The zero value has the defaults.
type RetryPolicy struct {
	// Attempts is how often the event is handled at the most before it goes to
	// the dead letters. 1 means that it isn't tried again. Defaults to 10.
	Attempts int
	// First is the pause after the first failure. Defaults to 1 second.
	First time.Duration
	// Last is the longest pause. Defaults to 10 minutes.
	Last time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	p.Attempts = cmp.Or(p.Attempts, 10)
	p.First = cmp.Or(p.First, time.Second)
	p.Last = cmp.Or(p.Last, max(p.First, 10*time.Minute))
	return p
}

const maxPause = 365 * 24 * time.Hour

func (p RetryPolicy) check() error {
	switch d := p.withDefaults(); {
	case p.Attempts < 0:
		return fmt.Errorf("%d attempts: at least 1 is needed", p.Attempts)
	case p.First < 0 || p.Last < 0 || d.Last > maxPause:
		return fmt.Errorf("a pause is 0 to %s", maxPause)
	case d.First > d.Last:
		return fmt.Errorf("the first pause, %s, is longer than the last, %s", d.First, d.Last)
	}
	return nil
}

// pause returns how long to wait after so many failed attempts.
func (p RetryPolicy) pause(failed int) time.Duration {
	d := p.First
	for range failed - 1 {
		if d *= 2; d >= p.Last {
			break
		}
	}
	d = min(d, p.Last)
	return d - d/10 + rand.N(d/5+1) //nolint:gosec // jitter
}

// Discard returns an error that gives up on the event at once: it goes to the
// dead letters without further attempts. A nil err stands for no reason given.
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded by the function")
	}
	return &discard{err}
}

type discard struct{ error }

func (e *discard) Unwrap() error { return e.error }

// RetryAfter returns an error after which the event is tried again once d has
// passed, whatever the policy's pause. It counts as an attempt. A nil err stands
// for no reason given.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		err = errors.New("the function asked for another attempt")
	}
	return &retryAfter{err, min(max(0, d), maxPause)}
}

type retryAfter struct {
	error
	pause time.Duration
}

func (e *retryAfter) Unwrap() error { return e.error }

// next decides about an event that has failed so many times: when it is tried
// again, or that it is given up.
func (p RetryPolicy) next(failed int, err error) (pause time.Duration, again bool) {
	var gone *discard
	var later *retryAfter
	switch {
	case errors.As(err, &gone), failed >= p.Attempts:
		return 0, false
	case errors.As(err, &later):
		return later.pause, true
	}
	return p.pause(failed), true
}
