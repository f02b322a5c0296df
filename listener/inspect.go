package listener

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Queue is the durable queue of a database, to look into and to look after. Its
// methods ask the database, and may be called from several goroutines.
type Queue struct {
	pool gorm.ConnPool
	*store
}

// NewQueue returns the queue in a schema of the database. Applications get it
// from the plugin.
func NewQueue(pool gorm.ConnPool, schema string) *Queue {
	return &Queue{pool: pool, store: newStore(schema)}
}

// Status is a subscription's state in the database.
type Status struct {
	triggers.Subscription
	// Paused is since when it is paused; zero when it isn't.
	Paused time.Time
	// Ready events wait for a worker. Scheduled ones are delayed, to be tried
	// again, or reserved by a lease. Dead ones were given up on.
	Ready, Scheduled, Dead int64
	// Oldest is when the oldest of the ready events was stored; zero for none.
	Oldest time.Time
}

// Status returns the state of all subscriptions, by name. It counts events, which
// takes about 0.1 seconds for a million.
func (q *Queue) Status(ctx context.Context) ([]Status, error) {
	rows, err := q.pool.QueryContext(ctx, fmt.Sprintf(`
SELECT s.name, s.channel, s.broadcast, s.ordered, s.paused_at,
  COALESCE(e.ready, 0), COALESCE(e.scheduled, 0), (SELECT count(*) FROM %[2]s AS d WHERE d.subscription = s.name), e.oldest
FROM %[3]s AS s LEFT JOIN (
  SELECT subscription_id, sum(COALESCE(packed, 1)) FILTER (WHERE run_at IS NULL) AS ready, count(run_at) AS scheduled,
    min(created_at) FILTER (WHERE run_at IS NULL) AS oldest
  FROM %[1]s GROUP BY subscription_id) AS e ON e.subscription_id = s.id
ORDER BY s.name`, q.event, q.dead, q.subscription))
	if err != nil {
		return nil, fmt.Errorf("read the queue's state: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []Status
	for rows.Next() {
		var s Status
		var paused, oldest sql.NullTime
		if err := rows.Scan(&s.Name, &s.Channel, &s.Broadcast, &s.Ordered, &paused, &s.Ready, &s.Scheduled, &s.Dead, &oldest); err != nil {
			return nil, fmt.Errorf("read the queue's state: %w", err)
		}
		s.Paused, s.Oldest = paused.Time, oldest.Time
		all = append(all, s)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read the queue's state: %w", err)
	}
	return all, nil
}

// Pause keeps the subscription's events in the queue, in all processes, until
// Resume. Functions that are running end as usual.
func (q *Queue) Pause(ctx context.Context, subscription string) error {
	return q.change(ctx, "pause", subscription, "paused_at = COALESCE(paused_at, pg_catalog.clock_timestamp())")
}

// Resume has a paused subscription's events handled again.
func (q *Queue) Resume(ctx context.Context, subscription string) error {
	if err := q.change(ctx, "resume", subscription, "paused_at = NULL"); err != nil {
		return err
	}
	return q.wake(ctx, subscription)
}

// Rename gives the events that wait for a subscription, and its dead letters, to
// another name, for a function that was renamed. A subscription of that name may
// be there already, since its process listens. It waits for events that are being
// handled.
func (q *Queue) Rename(ctx context.Context, from, to string) error {
	var known bool
	err := q.pool.QueryRowContext(ctx, fmt.Sprintf(`WITH old AS (
  SELECT id FROM %[1]s WHERE name = $1
), new AS (
  SELECT id FROM %[1]s WHERE name = $2 AND name <> $1
), moved AS (
  UPDATE %[2]s AS e SET subscription_id = new.id FROM old, new WHERE e.subscription_id = old.id
), buried AS (
  UPDATE %[3]s SET subscription = $2 WHERE subscription = $1 AND EXISTS (SELECT FROM old)
), gone AS (
  DELETE FROM %[1]s AS s USING old, new WHERE s.id = old.id
), renamed AS (
  UPDATE %[1]s AS s SET name = $2 FROM old WHERE s.id = old.id AND NOT EXISTS (SELECT FROM new)
)
SELECT EXISTS (SELECT FROM old)`, q.subscription, q.event, q.dead), from, to).Scan(&known)
	if err != nil {
		return fmt.Errorf("rename subscription %q: %w", from, err)
	}
	if !known {
		return fmt.Errorf("rename: %w %q", ErrUnknownSubscription, from)
	}
	return q.wake(ctx, to)
}

func (q *Queue) change(ctx context.Context, verb, subscription, set string) error {
	result, err := q.pool.ExecContext(ctx, "UPDATE "+q.subscription+" SET "+set+" WHERE name = $1", subscription)
	if err != nil {
		return fmt.Errorf("%s subscription %q: %w", verb, subscription, err)
	}
	if n, err := result.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("%s: %w %q", verb, ErrUnknownSubscription, subscription)
	}
	return nil
}

// wake has the workers of the subscription look.
func (q *Queue) wake(ctx context.Context, subscription string) error {
	var channel string
	err := q.pool.QueryRowContext(ctx, "SELECT channel FROM "+q.subscription+" WHERE name = $1", subscription).Scan(&channel)
	if err == nil {
		err = q.store.wake(ctx, q.pool, channel)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// Prune removes the subscriptions that are not among the names, with the events
// that wait for them, and returns their state. Their dead letters stay.
func (q *Queue) Prune(ctx context.Context, keep []string) ([]Status, error) {
	all, err := q.Status(ctx)
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{}
	for _, name := range keep {
		kept[name] = true
	}
	var pruned []Status
	for _, s := range all {
		if kept[s.Name] {
			continue
		}
		_, err := q.pool.ExecContext(ctx, fmt.Sprintf(`WITH gone AS (DELETE FROM %s WHERE name = $1 RETURNING id)
DELETE FROM %s WHERE subscription_id IN (SELECT id FROM gone)`, q.subscription, q.event), s.Name)
		if err != nil {
			return pruned, fmt.Errorf("prune subscription %q: %w", s.Name, err)
		}
		pruned = append(pruned, s)
	}
	return pruned, nil
}

// StoredEvent is an event that waits, or a dead letter.
type StoredEvent struct {
	ID           int64
	Subscription string
	Channel      string
	// Op is the operation behind a model's event, 0 for a typed channel's.
	Op triggers.Op
	// Payload is the row, the pair of an update's rows, or the typed channel's
	// value.
	Payload json.RawMessage
	// Context is what the writer's transaction gave its events to carry.
	Context triggers.EventContext
	// Attempt counts the attempts so far.
	Attempt   int
	CreatedAt time.Time
	// RunAt is when a scheduled event is due; zero for one that is ready, and for
	// a dead letter.
	RunAt time.Time
	// Error is why the last attempt failed, Stack where, for a panic.
	Error, Stack string
	// DiedAt is when the event was given up on; zero for one that waits.
	DiedAt time.Time
}

// Events returns up to limit events that wait for the subscription, or for any
// when its name is empty, in the order in which they were stored.
func (q *Queue) Events(ctx context.Context, subscription string, limit int) ([]StoredEvent, error) {
	return stored(q.pool.QueryContext(ctx, fmt.Sprintf(`
SELECT m.member_id, s.name, s.channel, COALESCE(e.op, ''), m.member::text, COALESCE(e.context, ''), e.attempt, e.created_at, e.run_at, COALESCE(e.error, ''), '', NULL::timestamptz
FROM %s AS e JOIN %s AS s ON s.id = e.subscription_id CROSS JOIN LATERAL %s(e.id, e.packed, e.payload) AS m
WHERE $1 IN ('', s.name) ORDER BY m.member_id LIMIT $2`, q.event, q.subscription, q.members), subscription, limit))
}

// Dead returns up to limit dead letters of the subscription, or of all when its
// name is empty, the oldest first.
func (q *Queue) Dead(ctx context.Context, subscription string, limit int) ([]StoredEvent, error) {
	return stored(q.pool.QueryContext(ctx, fmt.Sprintf(`
SELECT id, subscription, channel, COALESCE(op, ''), payload::text, COALESCE(context, ''), attempt, created_at, NULL::timestamptz, error, COALESCE(stack, ''), died_at
FROM %s WHERE $1 IN ('', subscription) ORDER BY id LIMIT $2`, q.dead), subscription, limit))
}

func stored(rows *sql.Rows, err error) ([]StoredEvent, error) {
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []StoredEvent
	for rows.Next() {
		var e StoredEvent
		var op, payload string
		var run, died sql.NullTime
		if err := rows.Scan(&e.ID, &e.Subscription, &e.Channel, &op, &payload, &e.Context, &e.Attempt, &e.CreatedAt, &run, &e.Error, &e.Stack, &died); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		e.Op, _ = triggers.ParseOp(op)
		e.Payload, e.RunAt, e.DiedAt = json.RawMessage(payload), run.Time, died.Time
		all = append(all, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return all, nil
}

// Redrive puts dead letters of the subscription back into the queue, with all
// their attempts before them: those with the given numbers, or all. It returns how
// many. One whose subscription is gone stays where it is. They keep their numbers,
// and so come first; but those of an ordered subscription get new ones and come
// last, since one that follows may be in a worker's hands.
func (q *Queue) Redrive(ctx context.Context, subscription string, ids ...int64) (int64, error) {
	result, err := q.pool.ExecContext(ctx, fmt.Sprintf(`WITH back AS (
  DELETE FROM %[1]s AS d USING %[2]s AS s WHERE s.name = d.subscription AND d.subscription = $1 AND ($2::text = '{}' OR d.id = ANY ($2::text::bigint[]))
  RETURNING d.*, s.id AS subscription_id, s.ordered
)
INSERT INTO %[3]s (id, subscription_id, created_at, op, payload, context, key) OVERRIDING SYSTEM VALUE
SELECT CASE WHEN ordered THEN nextval(pg_catalog.pg_get_serial_sequence(%[4]s, 'id')) ELSE id END,
  subscription_id, created_at, op, payload, context, key FROM back ORDER BY back.id`, q.dead, q.subscription, q.event, plain.Literal(q.event)), subscription, array(ids))
	if err != nil {
		return 0, fmt.Errorf("redrive dead letters of %q: %w", subscription, err)
	}
	n, err := result.RowsAffected()
	if err != nil || n == 0 {
		return n, err
	}
	return n, q.wake(ctx, subscription)
}

// Remove removes dead letters of the subscription for good: those with the given
// numbers, or all. It returns how many.
func (q *Queue) Remove(ctx context.Context, subscription string, ids ...int64) (int64, error) {
	result, err := q.pool.ExecContext(ctx, fmt.Sprintf(
		"DELETE FROM %s WHERE subscription = $1 AND ($2::text = '{}' OR id = ANY ($2::text::bigint[]))", q.dead), subscription, array(ids))
	if err != nil {
		return 0, fmt.Errorf("remove dead letters of %q: %w", subscription, err)
	}
	return result.RowsAffected()
}
