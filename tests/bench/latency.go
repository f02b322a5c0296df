package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	riverLatency     = "River, 2,000 workers, cooldown 1 ms"
	watermillLatency = "watermill-sql, 5 ms poll"
	p50              = "p50 ms"
	p99              = "p99 ms"
	p50Returned      = "p50 since return ms"
)

// riverFast has the shortest cooldown that River accepts. A shorter poll than
// its own benchmark's makes it slower: the notification is faster than any poll.
var riverFast = riverTuning{workers: 2000, cooldown: time.Millisecond, poll: riverBest.poll, connections: 32}

var latencyGroup = group{
	key: "latency", title: "from COMMIT until the handler starts, one row each 20 ms or so",
	contenders: []contender{
		{name: ours, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return latency(ctx, db, size.samples, func(t *tally) queue { return newOurs(oursCount(t)) })
		}},
		{name: riverLatency, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return latency(ctx, db, size.samples, func(t *tally) queue { return newRiver(riverFast, riverCount(t)) })
		}},
		{name: riverTuned, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return latency(ctx, db, size.samples, func(t *tally) queue { return newRiver(riverBest, riverCount(t)) })
		}},
		{name: riverPlain, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return latency(ctx, db, size.samples, func(t *tally) queue { return newRiver(riverDefault, riverCount(t)) })
		}},
		{name: watermillLatency, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return latency(ctx, db, size.samples, func(t *tally) queue { return newWatermill(watermillQueue1000, t.add) })
		}},
	},
	bars: []bar{
		// A row is committed when COMMIT returns; what the disk takes until then is
		// everybody's, and nobody's to shorten.
		{title: "commit to handler at low load, p50, against River at its best", of: figure{ours, p50Returned}, against: figure{riverTuned, p50Returned}, atMost: 0.5},
		{title: "the same, against River with a cooldown of 1 ms", of: figure{ours, p50Returned}, against: figure{riverLatency, p50Returned}, atMost: 0.5},
		{title: "from just before COMMIT is sent, so with the commit itself, against River at its best", of: figure{ours, p50}, against: figure{riverTuned, p50}},
		{title: "commit to handler, p50, against River's defaults", of: figure{ours, p50}, against: figure{riverPlain, p50}},
		{title: "commit to handler, p50, against watermill-sql with a 5 ms poll", of: figure{ours, p50}, against: figure{watermillLatency, p50}},
		{title: "commit to handler, p99, against River at its best", of: figure{ours, p99}, against: figure{riverLatency, p99}},
	},
}

// warmUp is how many rows come before those that are measured, until plans and
// connections are there.
const warmUp = 20

// latency is how long a row's event is on its way.
func latency(ctx context.Context, db *database, samples int, open func(t *tally) queue) (figures, error) {
	rows := warmUp + samples
	t := newTimedTally(rows)
	q := open(t)
	if err := q.open(ctx, db); err != nil {
		return nil, err
	}
	w, err := db.newWriter(ctx)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := db.settle(ctx); err != nil {
		return nil, err
	}
	sent, returned := make([]time.Duration, rows+1), make([]time.Duration, rows+1)
	err = working(ctx, q, func() error {
		if err := q.ready(ctx); err != nil {
			return err
		}
		for id := 1; id <= rows; id++ {
			// The load: one row each 10 to 30 ms, so that no poll's rhythm is met.
			select {
			case <-time.After(10*time.Millisecond + rand.N(20*time.Millisecond)):
			case err := <-q.failed():
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := w.write(ctx, q, []Reading{newReading(id)}, func() { sent[id] = time.Since(t.since) }); err != nil {
				return err
			}
			returned[id] = time.Since(t.since)
		}
		return t.wait(ctx, q, rows)
	})
	if err := errors.Join(err, t.check(rows)); err != nil {
		return nil, err
	}
	fromSent, fromReturned := t.waited(sent[warmUp+1:]), t.waited(returned[warmUp+1:])
	return figures{p50: median(fromSent), p99: fromSent[len(fromSent)*99/100], p50Returned: median(fromReturned)}, q.verify(ctx, rows)
}

// waited are the milliseconds from the given times, of the last events, to the
// events' arrivals, in ascending order.
func (t *tally) waited(from []time.Duration) []float64 {
	arrivals := t.arrivals[len(t.arrivals)-len(from):]
	times := make([]float64, len(from))
	for i := range from {
		times[i] = float64(time.Duration(arrivals[i].Load())-from[i]) / float64(time.Millisecond)
	}
	slices.Sort(times)
	return times
}
