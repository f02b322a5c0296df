package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
)

const (
	onceSingle = "ours, tx.Create for each event"
	onceBatch  = "ours, OnInsertBatch and one tx.Create for a batch"
	onceRiver  = "River, JobCompleteTx in the row's transaction"
)

// riverOnce was the best of 8 to 2,000 workers with 14 to 156 connections. More
// workers than connections keep a job at hand for each connection.
var riverOnce = riverTuning{workers: 500, cooldown: riverBest.cooldown, poll: riverBest.poll, connections: 32}

var onceGroup = group{
	key: "exactly-once", title: "the handler writes one row per event, in the transaction that completes the event",
	contenders: []contender{
		{name: onceSingle, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return onceRate(ctx, db, size.once, func(t *tally) queue { return newOurs(oursCreate(t, hooks.Concurrency(drainConcurrency))) })
		}},
		{name: onceBatch, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return onceRate(ctx, db, size.once, func(t *tally) queue { return newOurs(oursCreateBatch(t, hooks.Concurrency(drainConcurrency))) })
		}},
		{name: onceRiver, run: func(ctx context.Context, size size, db *database) (figures, error) {
			return onceRate(ctx, db, size.onceRiver, func(t *tally) queue { return newRiver(riverOnce, riverCreate(t)) })
		}},
	},
	bars: []bar{
		{title: "exactly once, one row per event, against River completing the job in the row's transaction", of: figure{onceSingle, rate}, against: figure{onceRiver, rate}, least: 10},
		{title: "the same with the batch handler", of: figure{onceBatch, rate}, against: figure{onceRiver, rate}},
	},
}

// onceRate is how many of n stored events a second are handled, and fails unless
// each left exactly one row.
func onceRate(ctx context.Context, db *database, n int, open func(t *tally) queue) (figures, error) {
	if err := db.migrate(&Outcome{}); err != nil {
		return nil, err
	}
	t := newTally(n)
	d, err := drain(ctx, db, open(t), t, n, nil)
	if err != nil {
		return nil, err
	}
	rows, err := db.count(ctx, "SELECT count(*) FROM outcomes")
	if err != nil {
		return nil, err
	}
	different, err := db.count(ctx, "SELECT count(DISTINCT reading_id) FROM outcomes WHERE reading_id BETWEEN 1 AND $1", n)
	if err == nil && (rows != n || different != n) {
		err = fmt.Errorf("there are %d rows of %d events, and should be %d", rows, different, n)
	}
	return d.figures(n), err
}

// oursCreate declares the handler that writes a row.
func oursCreate(t *tally, opts ...hooks.Option) func(in hooks.Option) {
	return func(in hooks.Option) {
		hooks.OnInsert(&Reading{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[Reading]) error {
			t.add(p.New.ID)
			return tx.Create(&Outcome{ReadingID: p.New.ID, Value: p.New.Value}).Error
		}, append(opts, in, hooks.Name("bench"))...)
	}
}

// oursCreateBatch declares the handler that writes a batch's rows at once.
func oursCreateBatch(t *tally, opts ...hooks.Option) func(in hooks.Option) {
	return func(in hooks.Option) {
		hooks.OnInsertBatch(&Reading{}, func(_ context.Context, tx *gorm.DB, ps []hooks.TriggerPayload[Reading]) error {
			rows := make([]Outcome, len(ps))
			for i, p := range ps {
				t.add(p.New.ID)
				rows[i] = Outcome{ReadingID: p.New.ID, Value: p.New.Value}
			}
			return tx.Create(&rows).Error
		}, append(opts, in, hooks.Name("bench"))...)
	}
}

// riverCreate writes the row with pgx, which costs less than GORM.
func riverCreate(t *tally) riverWork {
	return func(ctx context.Context, pool *pgxpool.Pool, job *river.Job[riverArgs]) error {
		var row Reading
		if err := json.Unmarshal([]byte(job.Args.Row), &row); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO outcomes (reading_id, value) VALUES ($1, $2)", row.ID, row.Value); err != nil {
				return err
			}
			_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
			return err
		})
		t.add(job.Args.ID)
		return err
	}
}
