package txhook

import (
	"database/sql"
	"errors"

	"gorm.io/gorm"
)

// ErrUnhookedTx is what is returned for a transaction that was begun where nobody
// could see it.
var ErrUnhookedTx = errors.New("the transaction was begun beside the plugin, so that its end can't be seen: begin it through the *gorm.DB, or bind it")

// callback is the name of ours.
const callback = "pubsub:transactions"

// Install gives db's transactions hooks. Further calls do nothing.
func Install(db *gorm.DB) error {
	db.Config.ConnPool = wrapHere(db.Config.ConnPool)
	db.Statement.ConnPool = wrapHere(db.Statement.ConnPool)
	// The implicit transactions of statements that run elsewhere: on a resolver's
	// pools, on a connection of their own, in sessions that were made before.
	var problems []error
	callbacks := db.Callback()
	if p := callbacks.Create(); p.Get(callback) == nil {
		problems = append(problems, p.Before("gorm:begin_transaction").Register(callback, wrapStatement))
	}
	if p := callbacks.Update(); p.Get(callback) == nil {
		problems = append(problems, p.Before("gorm:begin_transaction").Register(callback, wrapStatement))
	}
	if p := callbacks.Delete(); p.Get(callback) == nil {
		problems = append(problems, p.Before("gorm:begin_transaction").Register(callback, wrapStatement))
	}
	return errors.Join(problems...)
}

func wrapStatement(db *gorm.DB) { db.Statement.ConnPool = wrap(db.Statement.ConnPool) }

// Of returns the transaction in which db runs its statements. It is nil outside of
// one, and the error is ErrUnhookedTx in one that isn't ours.
func Of(db *gorm.DB) (Transaction, error) {
	pool := db.Statement.ConnPool
	for {
		switch p := pool.(type) {
		case *Tx:
			if p == nil { // it could not be begun
				return nil, gorm.ErrInvalidTransaction
			}
			return p, nil
		case Transaction:
			return p, nil
		case *gorm.PreparedStmtTX:
			pool = p.Tx
		case interface{ Unwrap() gorm.ConnPool }:
			pool = p.Unwrap()
		case gorm.TxCommitter:
			return nil, ErrUnhookedTx
		default:
			return nil, nil
		}
	}
}

// SQLTx returns the transaction of database/sql in which db runs its statements.
func SQLTx(db *gorm.DB) (*sql.Tx, bool) {
	pool := db.Statement.ConnPool
	for {
		switch p := pool.(type) {
		case *sql.Tx:
			return p, true
		case interface{ SQLTx() *sql.Tx }:
			tx := p.SQLTx()
			return tx, tx != nil
		case *gorm.PreparedStmtTX:
			pool = p.Tx
		case interface{ Unwrap() gorm.ConnPool }:
			pool = p.Unwrap()
		default:
			return nil, false
		}
	}
}

// Bind returns a session in db's transaction of database/sql, whoever has begun
// that, with hooks, and a function to call when it has ended.
func Bind(db *gorm.DB) (session *gorm.DB, finish func(committed bool), err error) {
	tx, ok := SQLTx(db)
	if !ok {
		return nil, nil, gorm.ErrInvalidTransaction
	}
	t := &Tx{Tx: tx}
	session = db.Session(&gorm.Session{Context: db.Statement.Context}) // with a statement of its own
	session.Statement.ConnPool = t
	return session, t.scope.Finish, nil
}
