package listener

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"

	"gorm.io/gorm"
)

// errNotYours is what a function gets that tries to end the transaction in which
// its event is handled. With it the events of the whole batch would end, also
// those whose functions were not called yet.
var errNotYours = errors.New("pubsub: the transaction belongs to the queue, which ends it when the function has returned: return an error to undo, nil to keep")

// guard is a transaction that can't be ended by who is given it. Savepoints, and so
// GORM's nested transactions, are as ever.
type guard struct {
	gorm.ConnPool
	// Of the queries so far only the last may have rows that wait to be read.
	mu   sync.Mutex
	rows *sql.Rows
	row  *sql.Row
}

var (
	_ gorm.Tx             = (*guard)(nil)
	_ gorm.TxCommitter    = (*guard)(nil)
	_ gorm.GetDBConnector = (*guard)(nil)
)

// Commit refuses.
func (*guard) Commit() error { return errNotYours }

// Rollback refuses.
func (*guard) Rollback() error { return errNotYours }

// ExecContext runs a statement unless it ends the transaction.
func (g *guard) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if endsTransaction(query) {
		return nil, errNotYours
	}
	return g.ConnPool.ExecContext(ctx, query, args...)
}

// QueryContext runs a query.
func (g *guard) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := g.ConnPool.QueryContext(ctx, query, args...)
	if err == nil {
		g.remember(rows, nil)
	}
	return rows, err
}

// QueryRowContext runs a query of one row.
func (g *guard) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row := g.ConnPool.QueryRowContext(ctx, query, args...)
	if row.Err() == nil {
		g.remember(nil, row)
	}
	return row
}

func (g *guard) remember(rows *sql.Rows, row *sql.Row) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows, g.row = rows, row
}

// tidy closes the rows that a function has left unread, which would be in the way
// of what comes next.
func (g *guard) tidy() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rows != nil {
		_ = g.rows.Close()
	}
	if g.row != nil {
		_ = g.row.Scan()
	}
	g.rows, g.row = nil, nil
}

// StmtContext is for GORM's cache of prepared statements.
func (g *guard) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	if tx, ok := g.ConnPool.(gorm.Tx); ok {
		return tx.StmtContext(ctx, stmt)
	}
	return stmt
}

// Unwrap returns the transaction, for the hooks of its end.
func (g *guard) Unwrap() gorm.ConnPool { return g.ConnPool }

// GetDBConn is for gorm.DB.DB, which has no answer inside of a transaction.
func (*guard) GetDBConn() (*sql.DB, error) { return nil, gorm.ErrInvalidDB }

// endsTransaction reports whether the statement begins with a word that ends a
// transaction.
func endsTransaction(query string) bool {
	words := strings.Fields(strings.ToUpper(query[:min(len(query), 80)]))
	if len(words) == 0 {
		return false
	}
	switch first := strings.TrimRight(words[0], ";"); first {
	case "COMMIT", "END", "ABORT":
		return true
	case "ROLLBACK":
		for _, word := range words[1:] {
			if word == "TO" {
				return false
			}
		}
		return true
	case "PREPARE":
		return len(words) > 1 && words[1] == "TRANSACTION"
	}
	return false
}
