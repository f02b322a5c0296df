package listener

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// begin opens a transaction for claiming and handling. Its isolation is READ
// COMMITTED whatever the database's default: in a stricter one, claims of several
// workers would fail each other.
func (c *consumer) begin(ctx context.Context) (*gorm.DB, error) {
	tx := c.db.Session(&gorm.Session{NewDB: true, Context: ctx}).Begin(&sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if tx.Error != nil {
		return nil, fmt.Errorf("begin a transaction: %w", tx.Error)
	}
	return tx, nil
}

// plain returns the transaction's pool without the statement cache.
func plain(tx *gorm.DB) gorm.ConnPool {
	pool := tx.Statement.ConnPool
	for {
		prepared, ok := pool.(*gorm.PreparedStmtTX)
		if !ok {
			return pool
		}
		pool = prepared.Tx
	}
}

// batch claims events and handles them in the transaction that removes them. It
// returns how many it claimed, and whether there may be more. When a function
// fails, the transaction is rolled back, and the events are handled one by one.
func (c *consumer) batch(ctx context.Context) (n int, more bool, err error) {
	asked := c.pace.next()
	from := c.mark.from(time.Now(), asked)
	tx, err := c.begin(ctx)
	if err != nil {
		return 0, false, err
	}
	defer tx.Rollback() // after a commit it does nothing
	start := time.Now()
	events, err := c.store.claim(ctx, plain(tx), c, from, asked)
	if err != nil {
		return 0, false, err
	}
	more = c.claimed(from, events, asked, time.Since(start))
	if len(events) == 0 {
		return 0, more, nil
	}

	start = time.Now()
	t := c.call(ctx, tx, events, func() bool { return time.Since(start) < target && !c.stopping() })
	if t.err == nil {
		c.pace.took(t.handled, min(asked, len(events)), time.Since(start))
		if err = c.settle(ctx, tx, t); err == nil {
			err = tx.Commit().Error
		}
	}
	switch {
	case t.err == nil && err == nil:
		c.count(t)
		return len(events), more || len(t.left) > 0, nil
	case ctx.Err() != nil:
		return 0, false, ctx.Err()
	case t.err == nil && !definite(err) && !errors.Is(err, sql.ErrTxDone):
		// Whether it was committed is not known; what wasn't is claimed again.
		c.mark.back()
		return 0, false, fmt.Errorf("commit: %w", err)
	}
	tx.Rollback()
	c.mark.back()
	c.pace.failed()
	return len(events), true, c.oneByOne(ctx, events)
}

// settle does in the transaction what has to be done with events that were not
// handled.
func (c *consumer) settle(ctx context.Context, tx *gorm.DB, t tally) error {
	if len(t.left) > 0 {
		if err := c.store.returns(ctx, plain(tx), c, t.left); err != nil {
			return err
		}
	}
	for _, r := range t.refused {
		if err := c.store.die(ctx, plain(tx), c, r.event, r.event.failed+1, r.err); err != nil {
			return err
		}
	}
	return nil
}

// count counts and reports what was committed.
func (c *consumer) count(t tally) {
	c.handled.Add(int64(t.handled))
	for _, r := range t.refused {
		c.report(&r.event, r.err, false, 0)
	}
	if len(t.left) > 0 {
		c.mark.back()
		c.askForHelp()
	}
}

// oneByOne handles events each in a transaction of its own, so that only those
// fail whose function does.
func (c *consumer) oneByOne(ctx context.Context, events []event) error {
	for _, e := range events {
		if c.stopping() || ctx.Err() != nil {
			return nil
		}
		if err := c.single(ctx, e.id); err != nil {
			return err
		}
	}
	return nil
}

// savepoint is what the transaction of a single event goes back to.
const savepoint = "pubsub_event"

// single claims and handles one event. A failure undoes what the function did,
// and decides in the same transaction what becomes of the event, which nobody
// else can take in between.
func (c *consumer) single(ctx context.Context, id int64) error {
	tx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	events, err := c.store.claimOne(ctx, plain(tx), c, id)
	if err != nil || len(events) == 0 {
		return err
	}
	if err := tx.SavePoint(savepoint).Error; err != nil {
		return err
	}
	t := c.call(ctx, tx, events, func() bool { return true })
	if ctx.Err() != nil { // a hard stop; the event is there again
		return ctx.Err()
	}
	if t.err == nil {
		if err = c.settle(ctx, tx, t); err == nil {
			err = tx.Commit().Error
		}
		switch {
		case err == nil:
			c.count(t)
			return nil
		case !definite(err) && !errors.Is(err, sql.ErrTxDone):
			return fmt.Errorf("commit: %w", err)
		}
		tx.Rollback()
		return c.record(ctx, id, fmt.Errorf("the function returned nil, but its transaction can't be committed: %w", err))
	}
	if err := tx.Session(&gorm.Session{NewDB: true, Context: ctx}).RollbackTo(savepoint).Error; err != nil {
		tx.Rollback() // the session is gone, or the function has ended the transaction
		return c.record(ctx, id, t.err)
	}
	return c.decide(ctx, tx, events[0], t.err)
}

// record records a failed attempt in a transaction of its own.
func (c *consumer) record(ctx context.Context, id int64, cause error) error {
	tx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	events, err := c.store.claimOne(ctx, plain(tx), c, id)
	if err != nil || len(events) == 0 {
		return err
	}
	return c.decide(ctx, tx, events[0], cause)
}

// decide commits what becomes of a claimed event whose function has failed.
func (c *consumer) decide(ctx context.Context, tx *gorm.DB, e event, cause error) error {
	pause, again := c.sub.retry.next(e.failed+1, cause)
	var err error
	if again {
		err = c.store.again(ctx, plain(tx), c, e, pause, cause)
	} else {
		err = c.store.die(ctx, plain(tx), c, e, e.failed+1, cause)
	}
	if err == nil {
		err = tx.Commit().Error
	}
	if err != nil {
		return fmt.Errorf("record a failed attempt: %w", err)
	}
	c.report(&e, cause, again, pause)
	if again {
		c.schedule.due(pause)
	}
	return nil
}
