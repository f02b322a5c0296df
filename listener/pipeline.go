package listener

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/txhook"
)

const beginSQL = "begin isolation level read committed"

// errNoPipeline tells that the pool's connections aren't pgx's.
var errNoPipeline = errors.New("the pool's connections are not pgx's own")

// pipelined is a transaction on a connection of the pool that was begun together
// with its first query: an event that comes alone is handled one round trip
// sooner. To GORM it is a transaction like those of database/sql.
type pipelined struct {
	*sql.Conn
	ctx    context.Context
	ended  atomic.Bool
	ignore func() bool // the end of ctx, which rolls back
	hooks  txhook.Scope

	mu sync.Mutex
	tx *sql.Tx // see SQLTx
}

var (
	_ gorm.Tx             = (*pipelined)(nil)
	_ gorm.TxCommitter    = (*pipelined)(nil)
	_ gorm.GetDBConnector = (*pipelined)(nil)
	_ txhook.Transaction  = (*pipelined)(nil)
)

// connector is a pool that lends a connection, as *sql.DB is one.
type connector interface {
	Conn(context.Context) (*sql.Conn, error)
}

// pipeline begins a transaction and runs the query in it, at once. scan is called
// for each row.
func pipeline(ctx context.Context, pool connector, query string, args []any, scan func(pgx.Rows) error) (*pipelined, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	t := &pipelined{Conn: conn, ctx: ctx, ignore: func() bool { return true }}
	err = t.raw(func(c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(beginSQL)
		b.Queue(query, args...)
		results := c.SendBatch(ctx, b)
		_, err := results.Exec()
		if err == nil {
			err = each(results, scan)
		}
		if closing := results.Close(); err == nil {
			err = closing
		}
		return err
	})
	switch {
	case errors.Is(err, errNoPipeline):
		return nil, errors.Join(err, conn.Close())
	case err != nil:
		_ = t.Rollback()
		return nil, err
	}
	// As database/sql does: a function that never returns must not hold its events.
	t.ignore = context.AfterFunc(ctx, func() { _ = t.Rollback() })
	return t, nil
}

func each(results pgx.BatchResults, scan func(pgx.Rows) error) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// raw runs f on pgx's connection.
func (t *pipelined) raw(f func(*pgx.Conn) error) error {
	return t.Raw(func(c any) error {
		if c, ok := c.(*stdlib.Conn); ok {
			return f(c.Conn())
		}
		return errNoPipeline
	})
}

// Commit ends the transaction, as sql.Tx does.
func (t *pipelined) Commit() error {
	if t.ended.Swap(true) {
		return sql.ErrTxDone
	}
	t.ignore()
	var err error
	if tx := t.taken(); tx != nil {
		err = tx.Commit()
	} else {
		err = t.raw(func(c *pgx.Conn) error {
			tag, err := c.Exec(t.ctx, "commit")
			if err == nil && tag.String() == "ROLLBACK" {
				err = pgx.ErrTxCommitRollback
			}
			return err
		})
	}
	released := t.release()
	t.hooks.Finish(err == nil)
	return errors.Join(err, released)
}

// Rollback ends the transaction, as sql.Tx does. A connection on which that fails
// is closed, which ends it, too.
func (t *pipelined) Rollback() error {
	if t.ended.Swap(true) {
		return sql.ErrTxDone
	}
	t.ignore()
	var err error
	if tx := t.taken(); tx != nil {
		err = tx.Rollback()
	} else {
		ctx, cancel := after(t.ctx)
		defer cancel()
		err = t.raw(func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "rollback")
			return err
		})
	}
	released := t.release()
	t.hooks.Finish(false)
	return errors.Join(err, released)
}

// release gives the connection back to the pool, or closes it when it is broken or
// still has a transaction.
func (t *pipelined) release() error {
	err := t.raw(func(c *pgx.Conn) error {
		if c.IsClosed() || c.PgConn().TxStatus() != 'I' {
			return driver.ErrBadConn
		}
		return nil
	})
	if errors.Is(err, driver.ErrBadConn) { // it is closed already
		return nil
	}
	return errors.Join(err, t.Close())
}

// Hooks returns what is to be called when the transaction has ended.
func (t *pipelined) Hooks() *txhook.Scope { return &t.hooks }

// ExecContext runs a statement.
func (t *pipelined) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := t.Conn.ExecContext(ctx, query, args...)
	if err == nil {
		t.hooks.Saw(query)
	}
	return result, err
}

// QueryContext runs a query.
func (t *pipelined) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := t.Conn.QueryContext(ctx, query, args...)
	if err == nil {
		t.hooks.Saw(query)
	}
	return rows, err
}

// SQLTx returns a transaction of database/sql for who needs one: a function that asks
// for it, or for GORM's cache of prepared statements. That the server has one already is
// but a warning in its log.
func (t *pipelined) SQLTx() *sql.Tx {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tx == nil && !t.ended.Load() {
		tx, err := t.BeginTx(t.ctx, nil)
		if err != nil {
			return nil
		}
		t.tx = tx
	}
	return t.tx
}

// taken returns what SQLTx has given, if it has.
func (t *pipelined) taken() *sql.Tx {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tx
}

// PrepareContext prepares a statement.
func (t *pipelined) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	stmt, err := t.Conn.PrepareContext(ctx, query)
	if err == nil {
		txhook.Remember(stmt, query)
	}
	return stmt, err
}

// QueryRowContext runs a query of one row.
func (t *pipelined) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row := t.Conn.QueryRowContext(ctx, query, args...)
	if row.Err() == nil {
		t.hooks.Saw(query)
	}
	return row
}

// StmtContext is for GORM's cache of prepared statements.
func (t *pipelined) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	if tx := t.SQLTx(); tx != nil {
		if ctx.Err() == nil {
			t.hooks.SawPrepared(stmt)
		}
		return tx.StmtContext(ctx, stmt)
	}
	// A statement that fails, and runs nowhere else.
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return new(sql.Tx).StmtContext(ctx, stmt)
}

// GetDBConn is for gorm.DB.DB, which has no answer inside of a transaction.
func (*pipelined) GetDBConn() (*sql.DB, error) { return nil, gorm.ErrInvalidDB }
