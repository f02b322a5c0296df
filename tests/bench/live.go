package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorm-pubsub/pubsub/hooks"
)

var liveGroup = group{
	key: "live", title: "batches of 1,000 rows inserted through GORM by one writer while working, from the first INSERT until all are handled",
	contenders: []contender{
		{name: ours, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return liveRate(ctx, db, size, func(t *tally) queue { return newOurs(oursCount(t, hooks.Concurrency(drainConcurrency))) })
		}},
		{name: riverTuned, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return liveRate(ctx, db, size, func(t *tally) queue { return newRiver(riverBest, riverCount(t)) })
		}},
		{name: watermillQ1, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return liveRate(ctx, db, size, func(t *tally) queue { return newWatermill(watermillQueue1000, t.add) })
		}},
		{name: watermillLog, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return liveRate(ctx, db, size, func(t *tally) queue { return newWatermill(watermillLog1000, t.add) })
		}},
	},
	bars: []bar{
		{title: "live, batches of 1,000 rows through GORM, against River at its best", of: figure{ours, rate}, against: figure{riverTuned, rate}, least: 2},
		{title: "live, batches of 1,000 rows through GORM, against watermill-sql's queue", of: figure{ours, rate}, against: figure{watermillQ1, rate}, least: 1.5},
		{title: "live, batches of 1,000 rows through GORM, against watermill-sql's log", of: figure{ours, rate}, against: figure{watermillLog, rate}, least: 1.5},
	},
}

func liveRate(ctx context.Context, db *database, size size, open func(t *tally) queue) (figures, error) {
	t := newTally(size.live)
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
	var took time.Duration
	err = working(ctx, q, func() error {
		if err := q.ready(ctx); err != nil {
			return err
		}
		start := time.Now()
		for first := 1; first <= size.live; first += size.liveBatch {
			rows := make([]Reading, min(size.liveBatch, size.live-first+1))
			for i := range rows {
				rows[i] = newReading(first + i)
			}
			if err := w.write(ctx, q, rows, func() {}); err != nil {
				return err
			}
		}
		err := t.wait(ctx, q, size.live)
		took = time.Since(start)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, err := db.count(ctx, "SELECT count(*) FROM readings")
	if err == nil && rows != size.live {
		err = fmt.Errorf("there are %d rows, and should be %d", rows, size.live)
	}
	return figures{rate: perSecond(size.live, took)}, errors.Join(err, t.check(size.live), q.verify(ctx, size.live))
}
