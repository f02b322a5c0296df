package listener

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// probeLimit is how long the probe may be under way.
const probeLimit = 10 * time.Second

// errUnsent tells that there was no probe to expect, which says nothing of the
// connection.
var errUnsent = errors.New("send a probe through the application's pool (is every connection of it in use?)")

// probe sends a notification through the pool, as the application does, and
// expects it on the connection. Behind a pooler in transaction mode LISTEN
// succeeds and does nothing; only this finds out.
func (c *connection) probe(ctx context.Context, pool gorm.ConnPool) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	channel := "pubsub_probe_" + rand.Text()
	quoted := pgx.Identifier{channel}.Sanitize()
	if err := c.exec(ctx, "LISTEN "+quoted); err != nil {
		return fmt.Errorf("listen for the probe: %w", err)
	}

	deliver, arrived := c.onNotification, false
	c.onNotification = func(on, payload []byte, at time.Time) {
		if string(on) == channel {
			arrived = true
			return
		}
		deliver(on, payload, at)
	}
	defer func() { c.onNotification = deliver }()

	sent := make(chan error, 1)
	go func() {
		_, err := pool.ExecContext(ctx, "SELECT pg_catalog.pg_notify($1, '')", channel)
		sent <- err
	}()
	var failure error
	for !arrived && failure == nil {
		_, failure = c.pg.ReceiveMessage(ctx)
	}
	if !arrived {
		cancel()
	}
	err := <-sent
	if arrived {
		return c.exec(ctx, "UNLISTEN "+quoted)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	if !pgconn.Timeout(failure) {
		return fmt.Errorf("wait for the probe: %w", failure)
	}
	return fmt.Errorf("%w: a probe sent through the application's pool was not received within %s; "+
		"a pooler in transaction mode is in between, or the two reach different databases: "+
		"give the plugin a direct address with pubsub.ListenDSN", ErrDeaf, probeLimit)
}
