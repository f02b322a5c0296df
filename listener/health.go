package listener

import (
	"errors"
	"fmt"
	"time"
)

// Health is the state of a Listener at one moment.
type Health struct {
	// Listening tells whether notifications are being received.
	Listening bool
	// Polling tells that the durable queue is worked on without a listening
	// connection, at the price of a second's delay.
	Polling bool
	// Since is when Listening became what it is; zero before the first Run.
	Since time.Time
	// Reconnects counts the connections that replaced a broken one.
	Reconnects int64
	// LastError is why the last connection broke, nil if none did.
	LastError error
	// Subscriptions has the counters of each, in the order of declaration.
	// They start at zero with each Run.
	Subscriptions []SubscriptionHealth

	trouble error // why there is no connection now
}

// SubscriptionHealth has a subscription's counters in this process.
type SubscriptionHealth struct {
	Name    string
	Channel string
	Durable bool
	Running int64 // calls that are going on
	Handled int64 // calls that returned nil; of a durable subscription, events that are done with
	Failed  int64 // calls that returned an error or panicked, and events that could not be decoded

	// Of broadcasts.
	Waiting int   // notifications in the buffer
	Dropped int64 // notifications that found the buffer full
	Lost    int64 // statements whose events a failing trigger could not tell

	// Of durable subscriptions. What waits is in the database: see Queue.Status.
	Dead int64 // events that went to the dead letters
	Late int64 // completions that were refused, since the lease had run out
}

// Err returns nil while events are being received and an error that
// says why they are not, as a readiness probe wants it.
func (h Health) Err() error {
	switch {
	case h.Listening, h.Polling:
		return nil
	case h.trouble != nil:
		return fmt.Errorf("not listening since %s: %w", h.Since.Format(time.RFC3339), h.trouble)
	}
	return errors.New("not listening")
}

// Gap is a time in which broadcasts may have been missed, since the connection
// was broken. It begins a second before the last sign of life, for what was on
// its way then, so that some of what was sent in it may have arrived after all.
type Gap struct {
	From, To time.Time
	Channels []string
	// Cause is why the connection broke.
	Cause error
}
