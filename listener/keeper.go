package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// keeper looks after the queue's tables: it removes old dead letters and what
// subscriptions have left that are gone, and warns of transactions that keep
// vacuum from doing its work.
type keeper struct {
	*store
	pool    gorm.ConnPool
	log     *slog.Logger
	keep    time.Duration
	schema  string
	ordered bool            // there are ordered subscriptions
	warned  map[string]bool // sessions, by process and start
}

const (
	// keeperTick is how often it looks.
	keeperTick = time.Minute
	// longTransaction is how old a transaction has to be to be warned of.
	longTransaction = 10 * time.Minute
)

func newKeeper(config Config, s *store, ordered bool) *keeper {
	return &keeper{
		store: s, pool: config.Pool, log: config.Logger, keep: config.KeepDead, schema: config.Schema, ordered: ordered,
		warned: map[string]bool{},
	}
}

// run works until ctx ends.
func (k *keeper) run(ctx context.Context) {
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	for {
		if err := errors.Join(k.forget(ctx), k.sweep(ctx), k.order(ctx), k.warn(ctx, longTransaction)); err != nil && ctx.Err() == nil {
			k.log.Warn("housekeeping failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forget removes old dead letters.
func (k *keeper) forget(ctx context.Context) error {
	if k.keep < 0 {
		return nil
	}
	if _, err := k.pool.ExecContext(ctx, "DELETE FROM "+k.dead+" WHERE died_at < pg_catalog.now() - $1 * interval '1 second'", k.keep.Seconds()); err != nil {
		return fmt.Errorf("remove old dead letters: %w", err)
	}
	return nil
}

// sweep puts events among the dead letters whose subscription is gone: a
// transaction that began before that may have stored some since.
func (k *keeper) sweep(ctx context.Context) error {
	_, err := k.pool.ExecContext(ctx, fmt.Sprintf(`WITH RECURSIVE present AS (
  (SELECT subscription_id FROM %[1]s WHERE run_at IS NULL ORDER BY subscription_id LIMIT 1)
  UNION ALL
  SELECT (SELECT e.subscription_id FROM %[1]s AS e WHERE e.run_at IS NULL AND e.subscription_id > p.subscription_id ORDER BY e.subscription_id LIMIT 1)
  FROM present AS p WHERE p.subscription_id IS NOT NULL
), gone AS (
  DELETE FROM %[1]s WHERE run_at IS NULL AND subscription_id IN (
    SELECT p.subscription_id FROM present AS p WHERE p.subscription_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM %[2]s AS s WHERE s.id = p.subscription_id))
  RETURNING *
)
INSERT INTO %[3]s (id, subscription, channel, op, payload, context, key, attempt, error, created_at)
SELECT m.member_id, 'removed ' || g.subscription_id, '', g.op, m.member, g.context, g.key, g.attempt, 'the subscription was removed while a transaction stored this', g.created_at
FROM gone AS g CROSS JOIN LATERAL %[4]s(g.id, g.packed, g.payload) AS m`,
		k.event, k.subscription, k.dead, k.members))
	if err != nil {
		return fmt.Errorf("set aside what subscriptions have left: %w", err)
	}
	return nil
}

// order gives keys to events that a trigger has stored without, before it was
// brought up to date.
func (k *keeper) order(ctx context.Context) error {
	if !k.ordered {
		return nil
	}
	for _, statement := range triggers.GiveKeys(k.schema) {
		if _, err := k.pool.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("give keys to events: %w", err)
		}
	}
	return nil
}

// warn tells of transactions that are older than age, once each. Sessions of
// other roles are only seen by a member of pg_read_all_stats.
func (k *keeper) warn(ctx context.Context, age time.Duration) error {
	rows, err := k.pool.QueryContext(ctx, `
SELECT pid, application_name, COALESCE(state, ''), extract(epoch FROM pg_catalog.clock_timestamp() - xact_start), xact_start::text
FROM pg_catalog.pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < pg_catalog.clock_timestamp() - $1 * interval '1 second' AND backend_type = 'client backend'`, age.Seconds())
	if err != nil {
		return fmt.Errorf("look for long transactions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var pid int
		var application, state, start string
		var seconds float64
		if err := rows.Scan(&pid, &application, &state, &seconds, &start); err != nil {
			return fmt.Errorf("look for long transactions: %w", err)
		}
		if session := fmt.Sprint(pid, " ", start); !k.warned[session] {
			k.warned[session] = true
			k.log.Warn("a long transaction keeps vacuum from cleaning up the queue, and everything else",
				"pid", pid, "application", application, "state", state, "age", time.Duration(seconds*float64(time.Second)).Round(time.Second))
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("look for long transactions: %w", err)
	}
	return nil
}
