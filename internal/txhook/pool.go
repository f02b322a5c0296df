package txhook

import (
	"context"
	"database/sql"

	"gorm.io/gorm"
)

// Pool is a connection pool whose transactions have hooks. Others see a *sql.DB in
// it, by its methods.
type Pool struct{ *sql.DB }

var (
	_ gorm.ConnPool         = (*Pool)(nil)
	_ gorm.ConnPoolBeginner = (*Pool)(nil)
	_ gorm.GetDBConnector   = (*Pool)(nil)
)

// BeginTx begins a transaction.
func (p *Pool) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	return begun(p.DB.BeginTx(ctx, opts))
}

// GetDBConn is for gorm.DB.DB.
func (p *Pool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// beginner is another kind of pool that begins transactions of database/sql, such
// as a connection of its own.
type beginner struct {
	gorm.ConnPool
	begin func(context.Context, *sql.TxOptions) (*sql.Tx, error)
}

// BeginTx begins a transaction.
func (b *beginner) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	return begun(b.begin(ctx, opts))
}

// GetDBConn is for gorm.DB.DB.
func (b *beginner) GetDBConn() (*sql.DB, error) {
	switch pool := b.ConnPool.(type) {
	case gorm.GetDBConnector:
		return pool.GetDBConn()
	default:
		return nil, gorm.ErrInvalidDB
	}
}

// Unwrap returns the pool that is wrapped.
func (b *beginner) Unwrap() gorm.ConnPool { return b.ConnPool }

// begun wraps a transaction that was begun. A failure gives a nil of our type: GORM
// asks whether what it got can be rolled back.
func begun(tx *sql.Tx, err error) (gorm.ConnPool, error) {
	if err != nil {
		return (*Tx)(nil), err
	}
	return &Tx{Tx: tx}, nil
}

// wrap returns the pool with hooks for its transactions. What can't begin one, and
// what is wrapped already, is returned as it is.
func wrap(pool gorm.ConnPool) gorm.ConnPool {
	switch p := pool.(type) {
	case *Pool, *beginner, nil:
		return pool
	case *sql.DB:
		return &Pool{p}
	case *gorm.PreparedStmtDB:
		if inner := wrap(p.ConnPool); inner != p.ConnPool {
			return &gorm.PreparedStmtDB{Stmts: p.Stmts, Mux: p.Mux, ConnPool: inner}
		}
		return pool
	case gorm.TxBeginner:
		return &beginner{ConnPool: pool, begin: p.BeginTx}
	}
	return pool
}

// wrapHere is wrap for a database that nobody uses yet: the pool inside of GORM's
// cache of prepared statements, of which others know, is replaced in its place.
func wrapHere(pool gorm.ConnPool) gorm.ConnPool {
	if p, ok := pool.(*gorm.PreparedStmtDB); ok {
		p.ConnPool = wrap(p.ConnPool)
		return p
	}
	return wrap(pool)
}
