package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// database is a new database for one measurement.
type database struct {
	url  string
	pool *pgxpool.Pool // for what isn't measured
	drop func(context.Context) error
}

func (s *server) open(ctx context.Context) (*database, error) {
	url, drop, err := s.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	db := &database{url: url, drop: drop}
	if db.pool, err = db.newPool(ctx, 4); err != nil {
		return nil, errors.Join(err, db.close(context.WithoutCancel(ctx)))
	}
	return db, nil
}

func (db *database) close(ctx context.Context) error {
	if db.pool != nil {
		db.pool.Close()
	}
	return db.drop(ctx)
}

// newPool returns a pool of pgx with room for that many connections.
func (db *database) newPool(ctx context.Context, connections int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(db.url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, config)
}

// exec runs SQL that isn't measured.
func (db *database) exec(ctx context.Context, statement string, args ...any) error {
	_, err := db.pool.Exec(ctx, statement, args...)
	return err
}

// count returns a number that the database knows.
func (db *database) count(ctx context.Context, query string, args ...any) (n int, err error) {
	err = db.pool.QueryRow(ctx, query, args...).Scan(&n)
	return n, err
}

// settle does what autovacuum and the checkpointer would do a minute later, so
// that they don't do it during the measurement.
func (db *database) settle(ctx context.Context) error {
	if err := db.exec(ctx, "VACUUM (ANALYZE)"); err != nil {
		return err
	}
	return db.exec(ctx, "CHECKPOINT")
}

// gorm opens GORM as an application would.
func (db *database) gorm(connections int) (*gorm.DB, func() error, error) {
	g, err := gorm.Open(postgres.Open(db.url), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, nil, err
	}
	pool, err := g.DB()
	if err != nil {
		return nil, nil, err
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return g, pool.Close, nil
}

// migrate makes a model's table without any trigger, and else as our plugin's
// user has it.
func (db *database) migrate(model any) error {
	g, closePool, err := db.gorm(1)
	if err != nil {
		return err
	}
	return errors.Join(g.AutoMigrate(model), closePool())
}

// writer inserts rows through GORM in a transaction of pgx, to which a peer can
// add its jobs or messages by its fastest API, which wants pgx.
type writer struct {
	gorm *gorm.DB
	pgx  *pgx.Conn
	conn *sql.Conn
	pool *sql.DB
}

func (db *database) newWriter(ctx context.Context) (w *writer, err error) {
	w = &writer{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	config, err := pgx.ParseConfig(db.url)
	if err != nil {
		return nil, err
	}
	w.pool = stdlib.OpenDB(*config)
	if w.conn, err = w.pool.Conn(ctx); err != nil {
		return nil, err
	}
	err = w.conn.Raw(func(c any) error {
		own, ok := c.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the driver's connection is a %T", c)
		}
		w.pgx = own.Conn() // one goroutine uses both, so it may leave
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.gorm, err = gorm.Open(postgres.New(postgres.Config{Conn: w.conn}), &gorm.Config{
		Logger: logger.Discard, SkipDefaultTransaction: true, // the transaction is pgx's
	})
	return w, err
}

func (w *writer) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	_ = w.pool.Close()
}

// write inserts rows and lets q add to the transaction. It calls commit just
// before it sends COMMIT.
func (w *writer) write(ctx context.Context, q queue, rows []Reading, commit func()) error {
	tx, err := w.pgx.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := w.gorm.WithContext(ctx).Create(&rows).Error; err != nil {
		return err
	}
	if err := q.enqueue(ctx, tx, rows); err != nil {
		return err
	}
	commit()
	return tx.Commit(ctx)
}
