package hooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/txhook"
)

var (
	// ErrRolledBack is returned by AfterCommit in a transaction that was rolled
	// back already.
	ErrRolledBack = txhook.ErrRolledBack
	// ErrUnhookedTx is returned by AfterCommit and AfterRollback in a transaction
	// whose end can't be seen: it was begun beside the plugin, as by sql.DB's own
	// BeginTx, or inside of gorm.DB.Connection. See BindTx.
	ErrUnhookedTx = txhook.ErrUnhookedTx

	errNoHook = errors.New("the function is nil")
)

// AfterCommit has fn called when tx's transaction has committed: after the COMMIT
// of the outermost one, when its connection is back in the pool, so that fn may use
// the database. A rollback drops it, that of the savepoint within which it was
// registered, too, and so of a nested transaction. Outside of a transaction fn is
// called at once.
//
// Functions are called one after the other, in the order in which they were
// registered, in the goroutine that commits, which waits for them. fn's context is
// that of tx, with its values but neither its cancellation nor its deadline. A panic is
// recovered and logged by GORM's logger. In a DryRun session nothing is called.
//
// In a durable listener's function the transaction is the queue's, which may be that
// of several events: fn is called once that has committed.
//
// What AfterCommit can't give is certainty. When the process dies after the COMMIT,
// or the reply to it is lost, fn isn't called: what has to happen belongs into a
// durable listener. In a method such as AfterSave without a transaction, fn is called
// at once, which can be before a further statement of the same call.
//
// It works on every database that GORM does. The plugin installs what it needs; see
// Transactions for a database without the plugin.
func AfterCommit(tx *gorm.DB, fn func(context.Context)) error {
	return register("AfterCommit", tx, fn, func(t txhook.Transaction, f func()) error {
		if t == nil {
			f()
			return nil
		}
		return t.Hooks().OnCommit(f)
	})
}

// AfterRollback has fn called when tx's transaction was rolled back, or the savepoint
// within which it is registered, or when COMMIT has failed, even though it can't be
// told then whether the database has done it. It is called when the whole
// transaction has ended. Everything else is as with AfterCommit; outside of a
// transaction fn is never called.
func AfterRollback(tx *gorm.DB, fn func(context.Context)) error {
	return register("AfterRollback", tx, fn, func(t txhook.Transaction, f func()) error {
		if t != nil {
			t.Hooks().OnRollback(f)
		}
		return nil
	})
}

func register(name string, tx *gorm.DB, fn func(context.Context), add func(txhook.Transaction, func()) error) error {
	if fn == nil {
		return fmt.Errorf("%s: %w", name, errNoHook)
	}
	if tx.DryRun {
		return nil
	}
	t, err := txhook.Of(tx)
	if t == nil && tx.Error != nil { // perhaps a transaction that could not be begun
		err = tx.Error
	}
	if err == nil {
		ctx, logger := context.WithoutCancel(tx.Statement.Context), tx.Logger
		err = add(t, func() {
			defer func() {
				if value := recover(); value != nil {
					logger.Error(ctx, "pubsub: a function of %s panicked: %v\n%s", name, value, debug.Stack())
				}
			}()
			fn(ctx)
		})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// BindTx gives hooks to a transaction of database/sql that GORM's session tx runs in
// but that was begun beside the plugin. Functions that are registered with the
// session that it returns are called by finish, which whoever ends the transaction
// calls with whether it was committed. A session whose Commit or Rollback is called
// does that by itself.
//
//	sqlTx, err := pool.BeginTx(ctx, nil)
//	session, err := gorm.Open(postgres.New(postgres.Config{Conn: sqlTx}))
//	tx, finish, err := hooks.BindTx(session)
//	// … work with tx …
//	finish(sqlTx.Commit() == nil)
func BindTx(tx *gorm.DB) (session *gorm.DB, finish func(committed bool), err error) {
	if session, finish, err = txhook.Bind(tx); err != nil {
		return nil, nil, fmt.Errorf("BindTx: %w: the session isn't in a transaction of database/sql", err)
	}
	return session, finish, nil
}

// SQLTx returns the transaction of database/sql in which tx runs its statements, for
// code that needs it: with the plugin, tx.Statement.ConnPool isn't one. Savepoints
// that are set and rolled back to through it are not seen.
func SQLTx(tx *gorm.DB) (*sql.Tx, bool) { return txhook.SQLTx(tx) }

// Transactions is a plugin for a *gorm.DB of any database that makes AfterCommit and
// AfterRollback work there. The plugin of this project includes it.
//
//	err := db.Use(hooks.Transactions{})
type Transactions struct{}

// Name is for GORM.
func (Transactions) Name() string { return "pubsub:transactions" }

// Initialize is for GORM.
func (Transactions) Initialize(db *gorm.DB) error {
	if err := txhook.Install(db); err != nil {
		return fmt.Errorf("pubsub: hooks of transactions: %w", err)
	}
	return nil
}
