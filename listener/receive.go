package listener

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// connect makes a connection that listens for everything and has proved it. One
// that replaces another need not prove it when no probe can be sent: a pool that
// is in use must not keep us from listening.
func (l *Listener) connect(ctx context.Context, r *run, strict bool) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	c, err := connect(ctx, l.config.Dial)
	if err != nil {
		return nil, err
	}
	// Reload tells of a migration, and may have been missed before.
	reload, wake := triggers.Wire(l.config.Schema, triggers.Reload), triggers.Wire(l.config.Schema, triggers.Wake)
	l.generation.Add(1)
	c.onNotification = func(channel, payload []byte, arrived time.Time) {
		workers := r.routes[string(channel)]
		if len(workers) == 0 {
			switch string(channel) {
			case reload:
				l.generation.Add(1)
			case wake:
				r.wake(string(payload))
			}
			return
		}
		i := item{payload: string(payload), arrived: arrived, generation: l.generation.Load()}
		for _, w := range workers {
			w.offer(i)
		}
	}
	wires := slices.Sorted(maps.Keys(r.routes))
	present := slices.Clone(wires)
	for _, channel := range r.durable() {
		present = append(present, triggers.Wire(l.config.Schema, channel))
	}
	slices.Sort(present)
	err = c.listen(ctx, append([]string{reload, wake}, wires...))
	if err == nil {
		err = c.probe(ctx, l.config.Pool)
	}
	if errors.Is(err, errUnsent) && !strict && ctx.Err() == nil {
		l.config.Logger.Warn("the new connection could not be tried out", "error", err)
		err = nil
	}
	if err == nil {
		err = c.announce(ctx, slices.Compact(present))
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// wake has the workers of a channel look at the queue, or, when none is named,
// those who look after the schedule.
func (r *run) wake(channel string) {
	if channel == "" {
		r.schedule.due(0)
		return
	}
	if g, ok := r.gates.byName[channel]; ok {
		g.wake()
	}
}

// receive delivers notifications until ctx ends, over as many connections as
// it takes.
func (l *Listener) receive(ctx context.Context, c *connection, r *run, crew *crew) {
	var channels []string // that are broadcast on
	for _, w := range r.workers {
		channels = append(channels, w.channel)
	}
	slices.Sort(channels)
	channels = slices.Compact(channels)
	for {
		r.gates.connected(c)
		err := c.receive(ctx, func() { l.seen(time.Now()) })
		l.seen(c.last)
		r.gates.connected(nil)
		c.close()
		if ctx.Err() != nil {
			return
		}
		from := l.lose(err)
		if len(channels) > 0 {
			l.config.Logger.Warn("the listening connection broke; broadcasts are missed until there is a new one", "error", err)
		} else {
			l.config.Logger.Warn("the listening connection broke; the queue is polled until there is a new one", "error", err)
		}
		if c = l.reconnect(ctx, r); c == nil {
			return
		}
		if len(channels) == 0 {
			l.config.Logger.Warn("listening again")
			continue
		}
		gap := Gap{From: from, To: time.Now(), Channels: channels, Cause: err}
		l.config.Logger.Warn("listening again; broadcasts sent in between were missed", "from", gap.From, "to", gap.To, "channels", channels)
		crew.report(gap)
	}
}

// The pauses between attempts to reconnect grow from the first to the last.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// reconnect tries until there is a connection, and returns nil when ctx ends
// first.
func (l *Listener) reconnect(ctx context.Context, r *run) *connection {
	var last string
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		c, err := l.connect(ctx, r, false)
		if err == nil {
			l.arrive()
			l.mu.Lock()
			l.reconnects++
			l.mu.Unlock()
			return c
		}
		if ctx.Err() != nil {
			return nil
		}
		l.mu.Lock()
		l.trouble = err
		l.mu.Unlock()
		if text := err.Error(); text != last { // once is enough
			l.config.Logger.Warn("no new listening connection yet", "error", err)
			last = text
		}
		jittered := pause/2 + rand.N(pause/2) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(jittered):
		}
	}
}

// arrive records that there is a connection.
func (l *Listener) arrive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive = time.Now()
	l.listening, l.since, l.trouble = true, l.alive, nil
	select {
	case <-l.ready:
	default:
		close(l.ready)
	}
}

// margin is how long a notification may have been under way when the
// connection broke.
const margin = time.Second

// lose records that the connection broke. It returns since when notifications
// may be missing.
func (l *Listener) lose(err error) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listening, l.since, l.trouble, l.lastError = false, time.Now(), err, err
	return l.alive.Add(-margin)
}

// seen records that the server has shown to be there.
func (l *Listener) seen(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.alive) {
		l.alive = at
	}
}
