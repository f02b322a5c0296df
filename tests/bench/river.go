package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverTuning is what can be set to make River faster.
type riverTuning struct {
	workers        int
	withoutRow     bool          // the arguments are the ID alone
	cooldown, poll time.Duration // zero means River's default
	connections    int32
}

var (
	// riverBest is what River's own benchmark program uses.
	riverBest = riverTuning{workers: 2000, cooldown: 2 * time.Millisecond, poll: 20 * time.Millisecond, connections: 32}
	// riverDefault is as in its introduction.
	riverDefault = riverTuning{workers: 100, connections: 32}
	// riverSmall carries next to nothing.
	riverSmall = riverTuning{workers: riverBest.workers, cooldown: riverBest.cooldown, poll: riverBest.poll, connections: riverBest.connections, withoutRow: true}
)

// riverArgs are a job's arguments. The row is one text, because River keeps an
// index of all keys and values in the arguments: with the columns as keys it
// handles a quarter less.
type riverArgs struct {
	ID  int64  `json:"id"`
	Row string `json:"row,omitempty"`
}

func (riverArgs) Kind() string { return "reading" }

// riverWork handles a job. The pool is River's own.
type riverWork func(ctx context.Context, pool *pgxpool.Pool, job *river.Job[riverArgs]) error

// riverCount is the handler that does nothing but count.
func riverCount(t *tally) riverWork {
	return func(_ context.Context, _ *pgxpool.Pool, job *river.Job[riverArgs]) error {
		t.add(job.Args.ID)
		return nil
	}
}

// riverQueue is River.
type riverQueue struct {
	river.WorkerDefaults[riverArgs]
	tuning riverTuning
	work   riverWork

	db        *database
	pool      *pgxpool.Pool
	client    *river.Client[pgx.Tx]
	completed atomic.Int64 // by River's account, which it gives when the completion is committed
	lost      atomic.Int64 // jobs that failed
	ended     chan struct{}
	cancel    func()
}

func newRiver(tuning riverTuning, work riverWork) *riverQueue {
	return &riverQueue{tuning: tuning, work: work}
}

// Work is for River.
func (q *riverQueue) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	return q.work(ctx, q.pool, job)
}

func (q *riverQueue) open(ctx context.Context, db *database) (err error) {
	q.db = db
	if q.pool, err = db.newPool(ctx, q.tuning.connections); err != nil {
		return err
	}
	driver := riverpgxv5.New(q.pool)
	quiet := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely[riverArgs](workers, q); err != nil {
		return err
	}
	q.client, err = river.NewClient(driver, &river.Config{
		FetchCooldown: q.tuning.cooldown, FetchPollInterval: q.tuning.poll, Logger: quiet, Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: q.tuning.workers}},
	})
	if err != nil {
		return err
	}
	return db.migrate(&Reading{})
}

func (q *riverQueue) args(row *Reading) (riverArgs, error) {
	if q.tuning.withoutRow {
		return riverArgs{ID: row.ID}, nil
	}
	payload, err := row.payload()
	return riverArgs{ID: row.ID, Row: string(payload)}, err
}

func (q *riverQueue) params(rows []Reading) ([]river.InsertManyParams, error) {
	params := make([]river.InsertManyParams, len(rows))
	for i := range rows {
		args, err := q.args(&rows[i])
		if err != nil {
			return nil, err
		}
		params[i].Args = args
	}
	return params, nil
}

func (q *riverQueue) store(ctx context.Context, n int) error {
	for first := 1; first <= n; first += 5000 {
		params, err := q.params(numbered(first, min(5000, n-first+1)))
		if err != nil {
			return err
		}
		if _, err := q.client.InsertManyFast(ctx, params); err != nil {
			return err
		}
	}
	return nil
}

// enqueue uses COPY, the fastest that River has; for a single job it uses an
// INSERT, which takes fewer round trips.
func (q *riverQueue) enqueue(ctx context.Context, tx pgx.Tx, rows []Reading) error {
	if len(rows) == 1 {
		args, err := q.args(&rows[0])
		if err != nil {
			return err
		}
		_, err = q.client.InsertTx(ctx, tx, args, nil)
		return err
	}
	params, err := q.params(rows)
	if err != nil {
		return err
	}
	_, err = q.client.InsertManyFastTx(ctx, tx, params)
	return err
}

func (q *riverQueue) start(ctx context.Context) error {
	events, cancel := q.client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 1_000_000, // an event that finds the channel full is dropped
		Kinds:    []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed, river.EventKindJobCancelled},
	})
	q.cancel, q.ended = cancel, make(chan struct{})
	go func() {
		defer close(q.ended)
		for event := range events {
			if event.Kind == river.EventKindJobCompleted {
				q.completed.Add(1)
			} else {
				q.lost.Add(1)
			}
		}
	}()
	return q.client.Start(ctx)
}

// ready can't be known of River; what it doesn't notice at once it polls for.
func (q *riverQueue) ready(context.Context) error { return nil }

func (q *riverQueue) failed() <-chan error { return nil }

func (q *riverQueue) drained(_ context.Context, n int) (bool, error) {
	if lost := q.lost.Load(); lost > 0 {
		return false, fmt.Errorf("%d jobs failed", lost)
	}
	return q.completed.Load() >= int64(n), nil
}

func (q *riverQueue) verify(ctx context.Context, n int) error {
	completed, err := q.db.count(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed'")
	if err != nil {
		return err
	}
	all, err := q.db.count(ctx, "SELECT count(*) FROM river_job")
	if err == nil && (completed != n || all != n) {
		err = fmt.Errorf("%d of %d jobs are completed, and should be %d", completed, all, n)
	}
	return err
}

func (q *riverQueue) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the client of River doesn't stop"))
	defer cancel()
	err := q.client.Stop(ctx)
	q.cancel()
	<-q.ended
	q.pool.Close()
	return err
}
