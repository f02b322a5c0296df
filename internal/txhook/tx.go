package txhook

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"gorm.io/gorm"
)

// Tx is a transaction with hooks.
type Tx struct {
	*sql.Tx
	scope      Scope
	committing atomic.Bool
}

var (
	_ gorm.Tx          = (*Tx)(nil)
	_ gorm.TxCommitter = (*Tx)(nil)
	_ Transaction      = (*Tx)(nil)

	_ gorm.GetDBConnector = (*Tx)(nil)
)

// Transaction is a transaction whose hooks we call.
type Transaction interface {
	// Hooks returns them.
	Hooks() *Scope
}

// Hooks returns the transaction's hooks.
func (t *Tx) Hooks() *Scope { return &t.scope }

// SQLTx returns the transaction of database/sql.
func (t *Tx) SQLTx() *sql.Tx {
	if t == nil {
		return nil
	}
	return t.Tx
}

// GetDBConn is for gorm.DB.DB, which knows how to find the pool of a *sql.Tx.
func (t *Tx) GetDBConn() (*sql.DB, error) {
	return (&gorm.DB{Config: &gorm.Config{ConnPool: t.Tx}}).DB()
}

// Commit commits, and calls the hooks when the connection is free again. When that
// fails, the transaction counts as rolled back.
func (t *Tx) Commit() error {
	t.committing.Store(true)
	err := t.Tx.Commit()
	t.scope.Finish(err == nil)
	return err
}

// Rollback rolls back, and calls the hooks.
func (t *Tx) Rollback() error {
	err := t.Tx.Rollback()
	if errors.Is(err, sql.ErrTxDone) && t.committing.Load() {
		return err // whoever commits tells how that ends
	}
	t.scope.Finish(false)
	return err
}

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := t.Tx.ExecContext(ctx, query, args...)
	if err == nil {
		t.scope.Saw(query)
	}
	return result, err
}

// QueryContext runs a query.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := t.Tx.QueryContext(ctx, query, args...)
	if err == nil {
		t.scope.Saw(query)
	}
	return rows, err
}

// QueryRowContext runs a query of one row.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row := t.Tx.QueryRowContext(ctx, query, args...)
	if row.Err() == nil {
		t.scope.Saw(query)
	}
	return row
}

// PrepareContext prepares a statement, for GORM's cache of them.
func (t *Tx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	stmt, err := t.Tx.PrepareContext(ctx, query)
	if err == nil {
		Remember(stmt, query)
	}
	return stmt, err
}

// StmtContext returns the prepared statement for the transaction, which is about to
// be run. One that the server refuses makes the whole transaction fail, so that what
// counts is whether it is sent.
func (t *Tx) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	if ctx.Err() == nil {
		t.scope.SawPrepared(stmt)
	}
	return t.Tx.StmtContext(ctx, stmt)
}

// prepared are the prepared statements that say what becomes of a transaction's
// parts, by weak pointers.
var prepared sync.Map

// Remember keeps in mind what the statement was prepared from, for SawPrepared.
func Remember(stmt *sql.Stmt, query string) {
	if _, ok := parse(query); !ok {
		return
	}
	key := weak.Make(stmt)
	prepared.Store(key, query)
	runtime.AddCleanup(stmt, func(key weak.Pointer[sql.Stmt]) { prepared.Delete(key) }, key)
}

// SawPrepared is Saw for a prepared statement that is about to be run.
func (s *Scope) SawPrepared(stmt *sql.Stmt) {
	if query, ok := prepared.Load(weak.Make(stmt)); ok {
		s.Saw(query.(string)) //nolint:forcetypeassert // nothing else is in it
	}
}
