package pgserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	givenSource = source{"the given DSN", func(ctx context.Context, cfg *config) (*Server, error) {
		return use(ctx, cfg, cfg.dsn, "the given DSN")
	}}
	environmentSource = source{"DATABASE_URL", func(ctx context.Context, cfg *config) (*Server, error) {
		dsn := cfg.getenv("DATABASE_URL")
		if dsn == "" {
			return nil, absentf("not set")
		}
		return use(ctx, cfg, dsn, "DATABASE_URL")
	}}
)

// use takes a running server. Everything that is wrong with it is an error and no
// reason to look elsewhere: somebody meant this server.
func use(ctx context.Context, cfg *config, dsn, name string) (*Server, error) {
	parsed, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The parser's text may hold parts of the password.
		return nil, errors.New("it isn't a valid connection string")
	}
	place := fmt.Sprintf("%s/%s as %s", parsed.Host, parsed.Database, parsed.User)
	if err := reach(ctx, dsn); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	for _, s := range cfg.settings {
		if err := hasSetting(ctx, dsn, s); err != nil {
			return nil, err
		}
	}
	return &Server{url: dsn, origin: name + " (" + place + ")"}, nil
}

// reach connects once, but waits for a server that is just starting.
func reach(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var last error
	for {
		if last = answers(ctx, dsn); last == nil {
			return nil
		}
		var pgErr *pgconn.PgError
		if !errors.As(last, &pgErr) || pgErr.Code != "57P03" { // cannot_connect_now
			return last
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return last
		}
	}
}

func hasSetting(ctx context.Context, dsn string, want setting) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var value *string
	if err := conn.QueryRow(ctx, "select current_setting($1, true)", want.name).Scan(&value); err != nil {
		return err
	}
	if value == nil || *value != want.value {
		return fmt.Errorf("the server must have the setting %s=%s; set it there", want.name, want.value)
	}
	return nil
}
