package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// queue is what stores and handles events: ours, or a peer. It is made with its
// handler, and used for one measurement.
type queue interface {
	// open makes the tables and whatever else is needed before an event is stored.
	open(ctx context.Context, db *database) error
	// store leaves the events of the readings from 1 to n waiting.
	store(ctx context.Context, n int) error
	// enqueue adds what the new rows' events take beside the INSERT to the
	// writer's transaction.
	enqueue(ctx context.Context, tx pgx.Tx, rows []Reading) error
	// start begins to handle events.
	start(ctx context.Context) error
	// ready blocks until events are noticed that are stored from now on.
	ready(ctx context.Context) error
	// failed reports why handling ended early.
	failed() <-chan error
	// drained reports, after n events were given to the handler, whether the last
	// of them are completed, too. It is asked while the time runs, so it is cheap.
	drained(ctx context.Context, n int) (bool, error)
	// verify fails unless n events are completed and none waits. It is asked at the end.
	verify(ctx context.Context, n int) error
	// stop ends handling, and returns when it has ended.
	stop(ctx context.Context) error
}

// drained is how a drain went.
type drained struct {
	start time.Time
	took  time.Duration // until all events were handled
	first time.Duration // until the first one was
}

// figures are the rate over the whole time, and what the start took of it.
func (d drained) figures(n int) figures {
	return figures{rate: perSecond(n, d.took), firstEvent: float64(d.first) / float64(time.Millisecond)}
}

// drain stores n events, calls before if there is one, and then measures how the
// events are handled. In the end it checks what became of them.
func drain(ctx context.Context, db *database, q queue, t *tally, n int, before func() error) (d drained, err error) {
	if err := q.open(ctx, db); err != nil {
		return d, err
	}
	if err := q.store(ctx, n); err != nil {
		return d, err
	}
	if err := db.settle(ctx); err != nil {
		return d, err
	}
	if before != nil {
		if err := before(); err != nil {
			return d, err
		}
	}
	d.start = time.Now()
	err = working(ctx, q, func() error {
		err := t.wait(ctx, q, n)
		d.took = time.Since(d.start)
		return err
	})
	if err != nil {
		return d, err
	}
	d.first = t.firstAt.Load().Sub(d.start)
	return d, errors.Join(t.check(n), q.verify(ctx, n))
}

// working runs f while q handles events.
func working(ctx context.Context, q queue, f func() error) error {
	if err := q.start(ctx); err != nil {
		return err
	}
	err := f()
	if stopErr := q.stop(context.WithoutCancel(ctx)); err == nil {
		err = stopErr
	}
	return err
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
