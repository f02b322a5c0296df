package listener

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// Stored payloads are kept so long, which is the time that a transaction has to
// commit them and a listening process to fetch them, and looked through so
// often.
const (
	payloadAge   = time.Hour
	payloadSweep = time.Minute
)

var errPayloadGone = errors.New("the stored payload is gone: it was written more than " + payloadAge.String() + " ago")

// payloads fetches and removes what was too large for a notification. The pool
// is used as it is, and not through GORM, so that no resolver takes a replica
// that doesn't have the row yet.
type payloads struct {
	pool  gorm.ConnPool
	table string
}

func newPayloads(pool gorm.ConnPool, schema string) payloads {
	return payloads{pool: pool, table: pgx.Identifier{schema, "payload"}.Sanitize()}
}

// fetch completes a message whose data is stored. A database that doesn't
// answer is asked again for some seconds.
func (p payloads) fetch(ctx context.Context, wire string, m Message) (Message, error) {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		var body string
		err := p.pool.QueryRowContext(ctx, "SELECT body FROM "+p.table+" WHERE id = $1 AND channel = $2", m.ID, wire).Scan(&body)
		switch {
		case err == nil:
			return parse(m.Channel, body, m.Arrived), nil
		case errors.Is(err, sql.ErrNoRows):
			return m, errPayloadGone
		case refused(err), pause > 5*time.Second:
			return m, fmt.Errorf("fetch the stored payload: %w", err)
		}
		select {
		case <-ctx.Done():
			return m, fmt.Errorf("fetch the stored payload: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(pause):
		}
	}
}

// refused reports whether the database has understood and won't: asking again
// is no use.
func refused(err error) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && (strings.HasPrefix(failure.Code, "42") || failure.Code == invalidSchema)
}

// sweep removes old payloads now and then, until ctx ends.
func (p payloads) sweep(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(payloadSweep)
	defer tick.Stop()
	for {
		_, err := p.pool.ExecContext(ctx, "DELETE FROM "+p.table+" WHERE created_at < pg_catalog.now() - $1 * interval '1 second'", payloadAge.Seconds())
		if err != nil && ctx.Err() == nil {
			failed(fmt.Errorf("remove old payloads: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
