package triggers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// SQLSTATEs after which a table's lock is asked for again.
const (
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

// locked runs a statement that locks a table, waiting for the lock no longer
// than the lock timeout: writers queue up behind it all that time.
func (in Installer) locked(ctx context.Context, tx gorm.ConnPool, statement string) error {
	return keeping(ctx, tx, "lock_timeout", func() error {
		if err := set(ctx, tx, "lock_timeout", fmt.Sprintf("%dms", in.lockTimeout().Milliseconds())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, statement)
		return err
	})
}

// retry runs f in a transaction, and again when a table's lock could not be
// had, so that running writers finish in between. In a transaction of the
// caller's there is one attempt, since its failure ends that transaction.
func (in Installer) retry(ctx context.Context, db *gorm.DB, f func(gorm.ConnPool) error) error {
	_, running := plain.Pool(db).(gorm.TxCommitter)
	for attempt := 1; ; attempt++ {
		err := within(ctx, db, f)
		if !waited(err) {
			return err
		}
		var failure *pgconn.PgError
		if running && errors.As(err, &failure) && failure.Code == deadlockDetected {
			return fmt.Errorf("deadlock with another migration: install the triggers before this transaction locks the table, or outside of it: %w", err)
		}
		if running || attempt == lockAttempts {
			return fmt.Errorf("the table stayed locked by other transactions (lock timeout %s, %d attempts): end them or try at a quieter time: %w",
				in.lockTimeout(), attempt, err)
		}
		pause := time.Duration(100+rand.IntN(400)) * time.Millisecond //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}

// waited reports whether err is a lock that could not be had.
func waited(err error) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && (failure.Code == lockNotAvailable || failure.Code == deadlockDetected)
}

// keeping runs f and then sets the setting back to what it was for the rest of
// the transaction, which may be the caller's. After an error there is nothing
// to keep: the transaction can only be rolled back.
func keeping(ctx context.Context, tx gorm.ConnPool, setting string, f func() error) error {
	var before string
	if err := tx.QueryRowContext(ctx, "SELECT pg_catalog.current_setting($1)", setting).Scan(&before); err != nil {
		return fmt.Errorf("read the setting %s: %w", setting, err)
	}
	if err := f(); err != nil {
		return err
	}
	return set(ctx, tx, setting, before)
}

// set changes a setting until the transaction ends.
func set(ctx context.Context, tx gorm.ConnPool, setting, value string) error {
	if _, err := tx.ExecContext(ctx, "SELECT pg_catalog.set_config($1, $2, true)", setting, value); err != nil {
		return fmt.Errorf("change the setting %s: %w", setting, err)
	}
	return nil
}
