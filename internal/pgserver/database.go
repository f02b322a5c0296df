package pgserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CreateDatabase creates a fresh, empty database with a name of its own, and
// returns a connection string for it and a function that drops it.
//
// drop ends the sessions that are still open in the database (DROP DATABASE …
// WITH (FORCE)); it fails while the database has prepared transactions,
// subscriptions or active replication slots. It may be called more than once, and
// does nothing after [Server.Stop] of a server of ours. Give it a live context: in a
// test's Cleanup t.Context() is already cancelled. On a server that isn't ours a
// database that isn't dropped stays behind.
//
// CreateDatabase returns [ErrStopped] after Stop.
func (s *Server) CreateDatabase(ctx context.Context) (url string, drop func(context.Context) error, err error) {
	if s.stopped.Load() {
		return "", nil, ErrStopped
	}
	name := "pubsub_" + strings.ToLower(rand.Text())
	// template0 is never in use by another session and never holds an addition of
	// somebody's, unlike template1.
	create := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() + " TEMPLATE template0"
	if err := execute(ctx, s.url, create); err != nil {
		return "", nil, fmt.Errorf("create a database on %s: %w", s.origin, err)
	}
	drop = func(ctx context.Context) error {
		if s.stopped.Load() && s.instance != nil {
			return nil
		}
		if err := execute(ctx, s.url, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop the database %s on %s: %w", name, s.origin, err)
		}
		return nil
	}
	return withDatabase(s.url, name), drop, nil
}

// execute runs one statement on a connection of its own: there is nothing to keep
// alive between two databases, and nothing to close at the end.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

// withDatabase is the connection string dsn with another database. The dsn is
// known to be valid.
func withDatabase(dsn, name string) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		u, err := url.Parse(dsn)
		if err == nil {
			u.Path, u.RawPath = "/"+name, ""
			query := u.Query()
			query.Del("dbname") // it would win over the path
			u.RawQuery = query.Encode()
			return u.String()
		}
	}
	return dsn + " dbname=" + name // of two values for a keyword the last one counts
}
