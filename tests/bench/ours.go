package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

const (
	// drainConcurrency is ours for whatever has a backlog.
	drainConcurrency = 4
	// ourConnections is the size of GORM's pool.
	ourConnections = 32
)

// oursQueue is this project: a trigger stores the events, and a declared
// function handles them.
type oursQueue struct {
	declare func(in hooks.Option)
	singly  bool // store writes each row with a statement of its own

	db     *database
	plugin *pubsub.Plugin
	close  func() error
	log    *problems
	gorm   *gorm.DB
	cancel context.CancelFunc
	ended  chan struct{}
	errs   chan error
}

// newOurs handles with what declare declares.
func newOurs(declare func(in hooks.Option)) *oursQueue {
	return &oursQueue{declare: declare, log: &problems{}, errs: make(chan error, 1)}
}

// oursCount declares the handler that does nothing but count.
func oursCount(t *tally, opts ...hooks.Option) func(in hooks.Option) {
	return func(in hooks.Option) {
		hooks.OnInsert(&Reading{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Reading]) error {
			t.add(p.New.ID)
			return nil
		}, append(opts, in, hooks.Name("bench"))...)
	}
}

func (q *oursQueue) open(_ context.Context, db *database) (err error) {
	q.db = db
	if q.gorm, q.close, err = db.gorm(ourConnections); err != nil {
		return err
	}
	registry := hooks.NewRegistry()
	q.declare(hooks.In(registry))
	q.plugin = pubsub.New(pubsub.WithRegistry(registry), pubsub.Logger(slog.New(slog.NewTextHandler(q.log, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err := q.gorm.Use(q.plugin); err != nil {
		return err
	}
	return q.gorm.AutoMigrate(&Reading{})
}

func (q *oursQueue) store(ctx context.Context, n int) error {
	if q.singly {
		return q.db.exec(ctx, fmt.Sprintf(fillReadingsSingly, n))
	}
	return q.db.exec(ctx, fillReadings, n)
}

// enqueue has nothing to do: the trigger does it.
func (q *oursQueue) enqueue(context.Context, pgx.Tx, []Reading) error { return nil }

func (q *oursQueue) start(ctx context.Context) error {
	ctx, q.cancel = context.WithCancel(ctx)
	q.ended = make(chan struct{})
	go func() {
		defer close(q.ended)
		if err := q.plugin.Listen(ctx); err != nil {
			q.errs <- err
		}
	}()
	return nil
}

func (q *oursQueue) ready(ctx context.Context) error {
	select {
	case <-q.plugin.Ready():
		return nil
	case err := <-q.errs:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *oursQueue) failed() <-chan error { return q.errs }

// inFlight is how far from the last number given an event may be that a worker
// has claimed when the last is given to the handler. An event takes 64 numbers.
const inFlight = 64 * 20_000

// drained doesn't look at the whole table, since until vacuum comes it has a
// dead row for every event.
func (q *oursQueue) drained(ctx context.Context, _ int) (done bool, err error) {
	err = q.db.pool.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM pubsub.event WHERE id > (SELECT last_value FROM pubsub.event_id_seq) - $1)", inFlight).Scan(&done)
	return done, err
}

func (q *oursQueue) verify(ctx context.Context, _ int) error {
	for _, table := range []string{"pubsub.event", "pubsub.dead_event"} {
		left, err := q.db.count(ctx, "SELECT count(*) FROM "+table)
		if err != nil {
			return err
		}
		if left > 0 {
			return fmt.Errorf("%s still has %d rows; the log says:\n%s", table, left, q.log)
		}
	}
	return nil
}

// stop fails when something was worth a warning, since that is no measurement
// of the normal case.
func (q *oursQueue) stop(context.Context) error {
	q.cancel()
	<-q.ended
	if err := q.close(); err != nil {
		return err
	}
	select {
	case err := <-q.errs:
		return err
	default:
	}
	if text := q.log.String(); text != "" {
		return fmt.Errorf("the log has warnings:\n%s", text)
	}
	return nil
}

// problems keeps the beginning of a log.
type problems struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *problems) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text.Len() < 2000 {
		p.text.Write(line)
	}
	return len(line), nil
}

func (p *problems) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}
