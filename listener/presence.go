package listener

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// presence is the first half of the advisory lock keys that say who listens.
// The second half is the channel's hash. The locks are shared and belong to
// the listening session, so that they are gone with it.
const presence = 0x70756273

// announce makes this session's channels, by their names in Postgres, visible
// to Listeners.
func (c *connection) announce(ctx context.Context, channels []string) error {
	for _, channel := range channels {
		err := c.exec(ctx, fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_lock_shared(%d, %d)", presence, presenceKey(channel)))
		if err != nil {
			return fmt.Errorf("announce channel %q: %w", channel, err)
		}
	}
	return nil
}

func presenceKey(channel string) int32 { return triggers.Hash32(channel) }

// Presence is a session that listens on a channel.
type Presence struct {
	PID         int
	Application string // the session's application_name
	Address     string // of the client; empty for a local socket
	Since       time.Time
}

// Listeners returns the sessions of all processes that listen on the channel,
// by its name in Postgres (triggers.Wire), of db's database through this package. Sessions that ran LISTEN by themselves
// can't be seen: Postgres doesn't tell.
func Listeners(ctx context.Context, db *gorm.DB, channel string) ([]Presence, error) {
	rows, err := db.Statement.ConnPool.QueryContext(ctx, `
SELECT a.pid, a.application_name, COALESCE(host(a.client_addr), ''), a.backend_start
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
  AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid
ORDER BY a.backend_start, a.pid`, int64(presence), int64(uint32(presenceKey(channel)))) //nolint:gosec // the same 32 bits
	if err != nil {
		return nil, fmt.Errorf("look for listeners: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []Presence
	for rows.Next() {
		var p Presence
		var since sql.NullTime
		if err := rows.Scan(&p.PID, &p.Application, &p.Address, &since); err != nil {
			return nil, fmt.Errorf("look for listeners: %w", err)
		}
		p.Since = since.Time
		all = append(all, p)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("look for listeners: %w", err)
	}
	return all, nil
}
