package pubsub

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/listener"
)

// borrowLimit is how long a pool has to lend a connection when listening
// begins.
const borrowLimit = 10 * time.Second

// dialLike returns a Dial that connects as db does: with its DSN, or like a
// connection of the pool that it was given.
func dialLike(db *gorm.DB) listener.Dial {
	var config *postgres.Config
	switch d := db.Dialector.(type) {
	case *postgres.Dialector:
		config = d.Config
	case postgres.Dialector:
		config = d.Config
	}
	if config != nil && config.DSN != "" && config.DriverName == "" && config.Conn == nil {
		return dialDSN(config)
	}
	return dialPool(db)
}

// dialDSN opens the connection through the same connector as GORM's driver,
// so that the application's hooks (fresh credentials, for one) are called.
func dialDSN(c *postgres.Config) listener.Dial {
	return func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		config, err := pgx.ParseConfig(c.DSN)
		if err != nil {
			return nil, err
		}
		prepare(config)
		opened, err := stdlib.GetConnector(*config, c.OptionOpenDB...).Connect(ctx)
		if err != nil {
			return nil, err
		}
		conn, ok := opened.(*stdlib.Conn)
		if !ok {
			return nil, errors.Join(fmt.Errorf("%w: the connector gives a %T", listener.ErrNoAddress, opened), opened.Close())
		}
		return conn.Conn(), nil
	}
}

// dialPool opens a connection with the configuration of one of the pool's. A
// connection of the pool itself would go back there still listening.
func dialPool(db *gorm.DB) listener.Dial {
	return func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		pool, err := db.DB()
		if err != nil {
			return nil, fmt.Errorf("%w: the *gorm.DB has no *sql.DB (%w): use pubsub.ListenDSN", listener.ErrNoAddress, err)
		}
		config, err := borrowConfig(ctx, pool)
		if err != nil {
			return nil, err
		}
		prepare(config)
		return pgx.ConnectConfig(ctx, config)
	}
}

func borrowConfig(ctx context.Context, pool *sql.DB) (*pgx.ConnConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, borrowLimit)
	defer cancel()
	conn, err := pool.Conn(ctx)
	if err != nil {
		stats := pool.Stats()
		return nil, fmt.Errorf("borrow a connection of the pool to see its configuration (%d of %d in use): %w; pubsub.ListenDSN does without",
			stats.InUse, stats.MaxOpenConnections, err)
	}
	defer func() { _ = conn.Close() }()
	var config *pgx.ConnConfig
	err = conn.Raw(func(c any) error {
		for {
			switch inner := c.(type) {
			case interface{ Conn() *pgx.Conn }:
				config = inner.Conn().Config()
				return nil
			case interface{ Raw() driver.Conn }: // drivers that wrap others
				c = inner.Raw()
			default:
				return fmt.Errorf("%w: the pool's driver gives a %T, not a connection of pgx: use pubsub.ListenDSN", listener.ErrNoAddress, c)
			}
		}
	})
	return config, err
}
