package listener

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// store is the queue's SQL. What is claimed is gone from the table: for good when
// the transaction commits, and it is there again when it doesn't.
type store struct {
	claimCall, orderedCall, leaseCall, promoteCall string
	single, singleOrdered                          string
	putBack, bury                                  string
	release, extend, complete, retry, buryLeased   string
	wakeCall, unpackCall                           string
	event, dead, subscription, members             string
}

// event is a claimed event.
type event struct {
	id       int64
	failed   int // attempts so far
	at       time.Time
	op, data string
	context  string
	key      sql.NullInt64
	problem  string // why the trigger could not do its work
	packed   int    // of a packet, how many events it stands for
	packet   int64  // of an event out of a packet, the packet's number
}

const eventColumns = "id, attempt, created_at, COALESCE(op, ''), payload::text, COALESCE(context, ''), key, CASE WHEN attempt = 0 THEN COALESCE(error, '') ELSE '' END, packed"

func newStore(schema string) *store {
	name := func(object string) string { return pgx.Identifier{schema, object}.Sanitize() }
	s := &store{event: name("event"), dead: name("dead_event"), subscription: name("subscription"), members: name("members")}
	s.claimCall = "SELECT * FROM " + name("claim") + "($1, $2::bigint, $3)"
	s.orderedCall = "SELECT * FROM " + name("claim_ordered") + "($1, $2::bigint, $3)"
	s.leaseCall = "SELECT * FROM " + name("lease") + "($1, $2::bigint, $3, $4, $5::double precision * interval '1 second', $6)"
	s.promoteCall = "SELECT " + name("promote") + "($1)"
	s.wakeCall = "SELECT " + name("wake") + "($1)"
	s.unpackCall = "SELECT " + name("unpack") + "($1, $2::text::bigint[])"
	single := `DELETE FROM %[1]s AS e WHERE e.ctid = ANY (ARRAY(
  SELECT c.ctid FROM %[1]s AS c WHERE c.subscription_id = $1 AND c.id = $2 AND c.run_at IS NULL AND c.packed IS NULL%[2]s
  FOR UPDATE SKIP LOCKED)) RETURNING ` + eventColumns
	s.single = fmt.Sprintf(single, s.event, "")
	s.singleOrdered = fmt.Sprintf(single, s.event, fmt.Sprintf(`
    AND NOT EXISTS (SELECT FROM %s AS b WHERE b.subscription_id = $1 AND b.key = c.key AND b.id < c.id)
    AND (c.key <> 0 OR pg_catalog.pg_try_advisory_xact_lock(%d, $1))`, s.event, triggers.Order))
	s.putBack = `INSERT INTO ` + s.event + ` (id, subscription_id, attempt, created_at, run_at, op, payload, context, key, error, packed)
OVERRIDING SYSTEM VALUE VALUES `
	s.bury = `INSERT INTO ` + s.dead + ` (id, subscription, channel, op, payload, context, key, attempt, error, stack, created_at)
SELECT $1::bigint, name, channel, NULLIF($3, ''), $4::json, NULLIF($5, ''), $6::bigint, $7::integer, $8::text, NULLIF($9, ''), $10::timestamptz FROM ` + s.subscription + ` WHERE id = $2
ON CONFLICT (id) DO NOTHING`
	mine := ` WHERE subscription_id = $1 AND id = ANY ($2::text::bigint[]) AND lease = $3 AND run_at IS NOT NULL`
	s.release = `UPDATE ` + s.event + ` SET run_at = NULL, lease = NULL, attempt = attempt - 1` + mine + ` RETURNING id`
	s.extend = `UPDATE ` + s.event + ` SET run_at = pg_catalog.clock_timestamp() + $4::double precision * interval '1 second'` + mine + ` RETURNING id`
	s.complete = `DELETE FROM ` + s.event + mine + ` RETURNING id`
	s.retry = `UPDATE ` + s.event + ` SET run_at = pg_catalog.clock_timestamp() + $4::double precision * interval '1 second', lease = NULL, error = $5` + mine + ` RETURNING id`
	s.buryLeased = `WITH gone AS (DELETE FROM ` + s.event + mine + ` RETURNING *)
INSERT INTO ` + s.dead + ` (id, subscription, channel, op, payload, context, key, attempt, error, stack, created_at)
SELECT g.id, s.name, s.channel, g.op, g.payload, g.context, g.key, $6::integer, $4::text, NULLIF($5, ''), g.created_at
FROM gone AS g JOIN ` + s.subscription + ` AS s ON s.id = g.subscription_id
ON CONFLICT (id) DO UPDATE SET error = excluded.error RETURNING id`
	return s
}

// claim begins a transaction and takes up to most events or packets that come
// after an id, in their order.
func (s *store) claim(ctx context.Context, c *consumer, after int64, most int) (tx *gorm.DB, stored []event, err error) {
	call := s.claimCall
	if c.sub.ordered {
		call = s.orderedCall
	}
	if pool, ok := c.pool.(connector); ok && !c.unpipelined.Load() {
		t, err := pipeline(ctx, pool, call, []any{c.id, after, most}, func(rows pgx.Rows) error {
			e, err := scan(rows)
			stored = append(stored, e)
			return err
		})
		if err == nil {
			tx = c.db.Session(&gorm.Session{NewDB: true, Context: ctx})
			tx.Statement.ConnPool = t
			return tx, inOrder(stored), nil
		}
		if !errors.Is(err, errNoPipeline) {
			return nil, nil, fmt.Errorf("claim events: %w", err)
		}
		c.unpipelined.Store(true)
	}
	if tx, err = c.begin(ctx); err != nil {
		return nil, nil, err
	}
	if stored, err = collect(plain.Pool(tx).QueryContext(ctx, call, c.id, after, most)); err != nil {
		tx.Rollback()
	}
	return tx, stored, err
}

// unpack replaces packets by their events, for who handles these one by one.
func (s *store) unpack(ctx context.Context, tx gorm.ConnPool, c *consumer, packets []int64) error {
	if _, err := tx.ExecContext(ctx, s.unpackCall, c.id, array(packets)); err != nil {
		return fmt.Errorf("unpack events: %w", err)
	}
	return nil
}

// claimOne takes one event that stands alone, unless it is gone or its turn hasn't
// come.
func (s *store) claimOne(ctx context.Context, tx gorm.ConnPool, c *consumer, id int64) ([]event, error) {
	query := s.single
	if c.sub.ordered {
		query = s.singleOrdered
	}
	return collect(tx.QueryContext(ctx, query, c.id, id))
}

// lease reserves events.
func (s *store) lease(ctx context.Context, c *consumer, after int64, most int, lease int64) (events []event, err error) {
	err = c.alone(ctx, func(tx gorm.ConnPool) error {
		events, err = collect(tx.QueryContext(ctx, s.leaseCall, c.id, after, most, lease, c.sub.lease.Seconds(), c.sub.ordered))
		return err
	})
	return events, err
}

func collect(rows *sql.Rows, err error) ([]event, error) {
	if err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var events []event
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("claim events: %w", err)
		}
		events = append(events, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	return inOrder(events), nil
}

// scan reads a claimed row.
func scan(rows interface{ Scan(...any) error }) (e event, err error) {
	var packed sql.NullInt32
	err = rows.Scan(&e.id, &e.failed, &e.at, &e.op, &e.data, &e.context, &e.key, &e.problem, &packed)
	e.packed = int(packed.Int32)
	return e, err
}

func inOrder(events []event) []event {
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.id, b.id) })
	return events
}

// message returns the event as the handlers see it.
func (e *event) message(channel string, arrived time.Time, generation int64, pool gorm.ConnPool) Message {
	m := Message{
		Channel: channel, ID: e.id, Attempt: e.failed + 1, At: e.at, Data: e.data, Context: triggers.EventContext(e.context),
		Arrived: arrived, Generation: generation, Pool: pool,
	}
	m.Op, _ = triggers.ParseOp(e.op)
	return m
}

// trouble returns why the event can't be handled, as its trigger has found.
func (e *event) trouble() error {
	switch {
	case e.problem != "":
		return errors.New(e.problem)
	case e.op != "" && strings.HasPrefix(e.data, `"`):
		return errors.New(strings.Trim(e.data, `"`))
	}
	return nil
}

// returns are events that go back into the queue, as they were.
func (s *store) returns(ctx context.Context, tx gorm.ConnPool, c *consumer, events []event) error {
	const columns = 10
	for len(events) > 0 {
		var b strings.Builder
		b.WriteString(s.putBack)
		args := make([]any, 0, min(len(events), 1000)*columns)
		for i := 0; i < 1000 && len(events) > 0; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			n := i * columns
			fmt.Fprintf(&b, "($%d::bigint,$%d::integer,$%d::integer,$%d::timestamptz,NULL,NULLIF($%d, ''),$%d::json,NULLIF($%d, ''),$%d::bigint,NULLIF($%d, ''),$%d::integer)",
				n+1, n+2, n+3, n+4, n+5, n+6, n+7, n+8, n+9, n+10)
			e, packed, rest := pack(events)
			events = rest
			args = append(args, e.id, c.id, e.failed, e.at, e.op, e.data, e.context, e.key, e.problem, packed)
		}
		if _, err := tx.ExecContext(ctx, b.String(), args...); err != nil {
			return fmt.Errorf("put events back: %w", err)
		}
	}
	return nil
}

// again puts a claimed event back, to be tried after the pause.
func (s *store) again(ctx context.Context, tx gorm.ConnPool, c *consumer, e event, pause time.Duration, cause error) error {
	_, err := tx.ExecContext(ctx, s.putBack+`($1, $2, $3, $4, pg_catalog.clock_timestamp() + $5::double precision * interval '1 second',
NULLIF($6, ''), $7::json, NULLIF($8, ''), $9, $10, NULL)`,
		e.id, c.id, e.failed+1, e.at, pause.Seconds(), e.op, e.data, e.context, e.key, text(fmt.Sprint(cause)))
	if err != nil {
		return fmt.Errorf("put an event back: %w", err)
	}
	return nil
}

// die puts a claimed event among the dead letters.
func (s *store) die(ctx context.Context, tx gorm.ConnPool, c *consumer, e event, attempts int, cause error) error {
	_, err := tx.ExecContext(ctx, s.bury, e.id, c.id, e.op, e.data, e.context, e.key, attempts, text(fmt.Sprint(cause)), text(stackOf(cause)), e.at)
	if err != nil {
		return fmt.Errorf("write a dead letter: %w", err)
	}
	return nil
}

// completed removes events whose functions have returned nil, and returns the
// ids of those that still belonged to the lease.
func (s *store) completed(ctx context.Context, c *consumer, lease int64, ids []int64) ([]int64, error) {
	return c.numbers(ctx, s.complete, c.id, array(ids), lease)
}

// extended gives the lease more time, and returns the ids that still belong to
// it.
func (s *store) extended(ctx context.Context, c *consumer, lease int64, ids []int64) ([]int64, error) {
	return c.numbers(ctx, s.extend, c.id, array(ids), lease, c.sub.lease.Seconds())
}

// released makes leased events ready again whose functions were not called.
func (s *store) released(ctx context.Context, c *consumer, lease int64, ids []int64) error {
	_, err := c.numbers(ctx, s.release, c.id, array(ids), lease)
	return err
}

// leasedAgain schedules a leased event's next attempt, and returns its id if it
// still belonged to the lease.
func (s *store) leasedAgain(ctx context.Context, c *consumer, lease, id int64, pause time.Duration, cause error) ([]int64, error) {
	return c.numbers(ctx, s.retry, c.id, array([]int64{id}), lease, pause.Seconds(), text(fmt.Sprint(cause)))
}

// leasedDie puts a leased event among the dead letters.
func (s *store) leasedDie(ctx context.Context, c *consumer, lease, id int64, attempts int, cause error) ([]int64, error) {
	return c.numbers(ctx, s.buryLeased, c.id, array([]int64{id}), lease, text(fmt.Sprint(cause)), text(stackOf(cause)), attempts)
}

// promote makes ready what is due, and returns how long it is until the next
// event is. ok is false when none is scheduled.
func (s *store) promote(ctx context.Context, db *gorm.DB) (next time.Duration, ok bool, err error) {
	var seconds sql.NullFloat64
	err = alone(ctx, db, func(tx gorm.ConnPool) error {
		return tx.QueryRowContext(ctx, s.promoteCall, promoteBatch).Scan(&seconds)
	})
	if err != nil {
		return 0, false, fmt.Errorf("make scheduled events ready: %w", err)
	}
	return time.Duration(max(0, seconds.Float64) * float64(time.Second)), seconds.Valid, nil
}

// promoteBatch is how many events promote takes at once.
const promoteBatch = 10_000

// wake has the processes that sleep on the channel look at it.
func (s *store) wake(ctx context.Context, pool gorm.ConnPool, channel string) error {
	_, err := pool.ExecContext(ctx, s.wakeCall, channel)
	return err
}

// numbers runs a statement in a transaction of its own and returns the numbers
// that it does.
func (c *consumer) numbers(ctx context.Context, query string, args ...any) (all []int64, err error) {
	err = c.alone(ctx, func(tx gorm.ConnPool) error {
		all, err = numbers(tx.QueryContext(ctx, query, args...))
		return err
	})
	return all, err
}

func numbers(rows *sql.Rows, err error) ([]int64, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

// array writes numbers as Postgres reads an array from text, which every driver
// and protocol can carry.
func array(ids []int64) string {
	b := []byte{'{'}
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(append(b, '}'))
}

// maxText is how much of an error or a stack is kept, in bytes.
const maxText = 64 << 10

// text makes a text that Postgres accepts.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	if strings.ContainsRune(s, 0) {
		s = strings.ReplaceAll(s, "\x00", "\\0")
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

func stackOf(err error) string {
	var p *panicError
	if errors.As(err, &p) {
		return string(p.stack)
	}
	return ""
}

// definite reports whether err tells that a transaction was not committed: the
// database has said so, or the function has ended it, or a statement has failed in
// it and the function has returned nil all the same.
func definite(err error) bool {
	var failure *pgconn.PgError
	return errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, sql.ErrTxDone) || errors.As(err, &failure) && !strings.HasPrefix(failure.Code, "57P") && !strings.HasPrefix(failure.Code, "08")
}

// subscriptionIDs returns the subscriptions' numbers by their names.
func (s *store) subscriptionIDs(ctx context.Context, pool gorm.ConnPool) (map[string]int32, error) {
	rows, err := pool.QueryContext(ctx, "SELECT name, id FROM "+s.subscription)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	ids := map[string]int32{}
	for rows.Next() {
		var name string
		var id int32
		if err := rows.Scan(&name, &id); err != nil {
			return nil, fmt.Errorf("read the subscriptions: %w", err)
		}
		ids[name] = id
	}
	return ids, errors.Join(rows.Err(), rows.Close())
}

// waiting returns the names of the subscriptions that have ready events.
func (s *store) waiting(ctx context.Context, pool gorm.ConnPool) ([]string, error) {
	rows, err := pool.QueryContext(ctx, fmt.Sprintf(`SELECT s.name FROM %s AS s
CROSS JOIN LATERAL (SELECT FROM %s AS e WHERE e.subscription_id = s.id AND e.run_at IS NULL ORDER BY e.id LIMIT 1) AS first ORDER BY s.name`, s.subscription, s.event))
	if err != nil {
		return nil, fmt.Errorf("look for events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("look for events: %w", err)
		}
		names = append(names, name)
	}
	return names, errors.Join(rows.Err(), rows.Close())
}
