package triggers

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// within runs f in a transaction: db's own when it has one, a new one else.
func within(ctx context.Context, db *gorm.DB, f func(gorm.ConnPool) error) (err error) {
	p := plain.Pool(db)
	if _, running := p.(gorm.TxCommitter); running {
		return f(p)
	}
	var tx interface {
		gorm.ConnPool
		gorm.TxCommitter
	}
	switch beginner := p.(type) {
	case gorm.TxBeginner:
		tx, err = beginner.BeginTx(ctx, nil)
	case gorm.ConnPoolBeginner:
		var begun gorm.ConnPool
		if begun, err = beginner.BeginTx(ctx, nil); err == nil {
			var ok bool
			if tx, ok = begun.(interface {
				gorm.ConnPool
				gorm.TxCommitter
			}); !ok {
				return fmt.Errorf("begin a transaction: %T can't commit", begun)
			}
		}
	default:
		return fmt.Errorf("begin a transaction: %T can't", p)
	}
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() {
		if err != nil {
			if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
				err = errors.Join(err, fmt.Errorf("roll back: %w", undo))
			}
		}
	}()
	if err = f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// lock takes the advisory lock that lets one process at a time change what
// belongs to the schema, until the transaction ends.
func lock(ctx context.Context, tx gorm.ConnPool, schema string) error {
	sum := sha256.Sum256([]byte("gorm-pubsub migrate " + schema))
	key := int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // any 64 bits do
	if _, err := tx.ExecContext(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", key); err != nil {
		return fmt.Errorf("wait for other processes' migration: %w", err)
	}
	return nil
}
