package txhook

import (
	"context"
	"database/sql"
	"runtime"
	"sync"
	"weak"

	"gorm.io/gorm"
)

// Tx is a transaction with hooks.
type Tx struct {
	*sql.Tx
	scope Scope
}

var (
	_ gorm.Tx          = (*Tx)(nil)
	_ gorm.TxCommitter = (*Tx)(nil)
	_ Transaction      = (*Tx)(nil)
)

// Transaction is a transaction whose hooks we call.
type Transaction interface {
	// Hooks returns them.
	Hooks() *Scope
}

// Hooks returns the transaction's hooks.
func (t *Tx) Hooks() *Scope { return &t.scope }

// SQLTx returns the transaction of database/sql.
func (t *Tx) SQLTx() *sql.Tx { return t.Tx }

// Commit commits, and calls the hooks when the connection is free again. When that
// fails, the transaction counts as rolled back.
func (t *Tx) Commit() error {
	err := t.Tx.Commit()
	t.scope.Finish(err == nil)
	return err
}

// Rollback rolls back, and calls the hooks.
func (t *Tx) Rollback() error {
	err := t.Tx.Rollback()
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
		remember(stmt, query)
	}
	return stmt, err
}

// StmtContext returns the prepared statement for the transaction, which is about to
// be run. One that the server refuses makes the whole transaction fail, so that what
// counts is whether it is sent.
func (t *Tx) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	if query, ok := prepared.Load(weak.Make(stmt)); ok && ctx.Err() == nil {
		t.scope.Saw(query.(string)) //nolint:forcetypeassert // nothing else is in it
	}
	return t.Tx.StmtContext(ctx, stmt)
}

// prepared are the prepared statements that say what becomes of a transaction's
// parts, by weak pointers.
var prepared sync.Map

func remember(stmt *sql.Stmt, query string) {
	if _, ok := parse(query); !ok {
		return
	}
	key := weak.Make(stmt)
	prepared.Store(key, query)
	runtime.AddCleanup(stmt, func(key weak.Pointer[sql.Stmt]) { prepared.Delete(key) }, key)
}
