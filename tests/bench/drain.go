package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-pubsub/pubsub/hooks"
)

// The contenders' names.
const (
	ours         = "ours"
	oursSingly   = "ours, rows written by a statement each"
	riverTuned   = "River, 2,000 workers, cooldown 2 ms"
	riverID      = "River, the same, only an ID in the arguments"
	riverPlain   = "River, defaults"
	watermillQ1  = "watermill-sql, queue, batches of 1,000"
	watermillQ5  = "watermill-sql, queue, batches of 5,000"
	watermillQD  = "watermill-sql, queue, batches of 1,000, rows decoded"
	watermillLog = "watermill-sql, log with offset, batches of 1,000"
)

const (
	rate       = "events/s"
	firstEvent = "first after ms"
)

var drainGroup = group{
	key: "drain", title: "stored events, a handler that does nothing, from the start of listening until all are handled",
	contenders: []contender{
		{name: ours, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newOurs(oursCount(t, hooks.Concurrency(drainConcurrency))) })
		}},
		{name: oursSingly, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue {
				q := newOurs(oursCount(t, hooks.Concurrency(drainConcurrency)))
				q.singly = true
				return q
			})
		}},
		{name: riverTuned, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newRiver(riverBest, riverCount(t)) })
		}},
		{name: riverID, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newRiver(riverSmall, riverCount(t)) })
		}},
		{name: riverPlain, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drainDefault, func(t *tally) queue { return newRiver(riverDefault, riverCount(t)) })
		}},
		{name: watermillQ1, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newWatermill(watermillQueue1000, t.add) })
		}},
		{name: watermillQ5, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newWatermill(watermillQueue5000, t.add) })
		}},
		{name: watermillQD, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newWatermill(watermillDecoded, t.add) })
		}},
		{name: watermillLog, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return drainRate(ctx, db, size.drain, func(t *tally) queue { return newWatermill(watermillLog1000, t.add) })
		}},
	},
	bars: []bar{
		{title: "draining stored events, against River at its best", of: figure{ours, rate}, against: figure{riverTuned, rate}, least: 5},
		{title: "draining stored events, against watermill-sql's queue, batches of 1,000", of: figure{ours, rate}, against: figure{watermillQ1, rate}, least: 1.5},
		{title: "draining stored events, against watermill-sql's queue, batches of 5,000", of: figure{ours, rate}, against: figure{watermillQ5, rate}},
		{title: "draining stored events, against watermill-sql's queue, batches of 1,000 and rows decoded", of: figure{ours, rate}, against: figure{watermillQD, rate}, least: 1.5},
		{title: "draining stored events, against watermill-sql's log, batches of 1,000", of: figure{ours, rate}, against: figure{watermillLog, rate}, least: 1.5},
		{title: "draining events of rows written by a statement each, against River at its best", of: figure{oursSingly, rate}, against: figure{riverTuned, rate}},
		{title: "draining events of rows written by a statement each, against watermill-sql's queue, batches of 1,000", of: figure{oursSingly, rate}, against: figure{watermillQ1, rate}},
		{title: "draining stored events, against River at its best with only an ID in the arguments", of: figure{ours, rate}, against: figure{riverID, rate}},
		{title: "draining stored events, against River's defaults", of: figure{ours, rate}, against: figure{riverPlain, rate}},
	},
}

// drainRate is how many of n stored events a second a queue handles.
func drainRate(ctx context.Context, db *database, n int, open func(t *tally) queue) (figures, error) {
	t := newTally(n)
	d, err := drain(ctx, db, open(t), t, n, nil)
	if err != nil {
		return nil, err
	}
	return d.figures(n), nil
}

const (
	shortQueue = "ours, the short queue"
	longQueue  = "ours, ten times as long"
	firstRate  = "first tenth's events/s"
)

var largeGroup = group{
	key: "large", title: "drain rate with 1,000,000 waiting, against 100,000",
	contenders: []contender{
		{name: shortQueue, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return largeRate(ctx, db, size.drain, size.drain)
		}},
		{name: longQueue, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return largeRate(ctx, db, size.large, size.drain)
		}},
	},
	bars: []bar{
		{title: "drain rate with 1,000,000 waiting against 100,000, over the first 100,000", of: figure{longQueue, firstRate}, against: figure{shortQueue, firstRate}, least: 0.8},
		{title: "drain rate with 1,000,000 waiting against 100,000, over all", of: figure{longQueue, rate}, against: figure{shortQueue, rate}, least: 0.8},
	},
}

// largeRate is the rate of n events, and that until mark of them were handled.
func largeRate(ctx context.Context, db *database, n, mark int) (figures, error) {
	t := newTally(n)
	t.mark = int64(mark)
	d, err := drain(ctx, db, newOurs(oursCount(t, hooks.Concurrency(drainConcurrency))), t, n, nil)
	if err != nil {
		return nil, err
	}
	found := d.figures(n)
	found[firstRate] = perSecond(mark, t.markedAt.Load().Sub(d.start))
	return found, nil
}

const (
	noSnapshot  = "ours, batches of 100"
	oldSnapshot = "ours, batches of 100, an old snapshot open"
)

var snapshotGroup = group{
	key: "snapshot", title: "drain rate in batches of 100 with an old snapshot held open, against none",
	contenders: []contender{
		{name: noSnapshot, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return snapshotRate(ctx, db, size.drain, false)
		}},
		{name: oldSnapshot, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return snapshotRate(ctx, db, size.drain, true)
		}},
	},
	bars: []bar{
		{title: "drain rate in batches of 100 with an old snapshot held open, against none", of: figure{oldSnapshot, rate}, against: figure{noSnapshot, rate}, least: 0.8},
	},
}

func snapshotRate(ctx context.Context, db *database, n int, held bool) (figures, error) {
	t := newTally(n)
	q := newOurs(oursCount(t, hooks.Concurrency(drainConcurrency), hooks.Batch(100)))
	var tx pgx.Tx
	hold := func() (err error) {
		if !held {
			return nil
		}
		if tx, err = db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT count(*) FROM readings") // the first statement takes the snapshot
		return err
	}
	defer func() {
		if tx != nil {
			_ = tx.Rollback(context.WithoutCancel(ctx))
		}
	}()
	d, err := drain(ctx, db, q, t, n, hold)
	if err != nil {
		return nil, err
	}
	return d.figures(n), nil
}
