package listener

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// begin opens a transaction on the queue. Its isolation is READ COMMITTED whatever
// the database's default: in a stricter one, several workers would fail each
// other, and writers.
func begin(ctx context.Context, db *gorm.DB) (*gorm.DB, error) {
	tx := db.Session(&gorm.Session{NewDB: true, Context: ctx}).Begin(&sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if tx.Error != nil {
		return nil, fmt.Errorf("begin a transaction: %w", tx.Error)
	}
	return tx, nil
}

func (c *consumer) begin(ctx context.Context) (*gorm.DB, error) { return begin(ctx, c.db) }

// alone runs f in a transaction of its own.
func alone(ctx context.Context, db *gorm.DB, f func(gorm.ConnPool) error) error {
	tx, err := begin(ctx, db)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := f(plain.Pool(tx)); err != nil {
		return err
	}
	return tx.Commit().Error
}

func (c *consumer) alone(ctx context.Context, f func(gorm.ConnPool) error) error {
	return alone(ctx, c.db, f)
}

// transaction is a batch that is handled in the transaction that removes it.
type transaction struct {
	*consumer
	tx     *gorm.DB
	events []event
	asked  int
}

// claimTransaction claims events in a new transaction.
func (c *consumer) claimTransaction(ctx context.Context) (b batch, more bool, err error) {
	asked, from := c.pace.next(), c.mark.from(time.Now())
	rows := max(1, asked/max(1, int(c.density.Load())))
	for {
		start := time.Now()
		tx, stored, err := c.store.claim(ctx, c, from, rows)
		if err != nil {
			return nil, false, err
		}
		events, broken := expand(stored)
		if len(broken) == 0 && len(events) <= excess*asked {
			if len(events) > 0 {
				c.density.Store(int32(len(events) / len(stored))) //nolint:gosec // a packet has few
				b = &transaction{consumer: c, tx: tx, events: events, asked: asked}
			} else {
				tx.Rollback()
			}
			return b, c.claimed(from, events, len(stored) >= rows, time.Since(start)), nil
		}
		tx.Rollback()
		switch {
		case len(broken) > 0:
			err = c.unpack(ctx, broken...)
		case rows > 1:
			rows = max(1, len(stored)*asked/len(events))
		default:
			err = c.unpack(ctx, stored[0].id)
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// excess is how many times as many events as were asked for may be claimed, since
// they are packed. What is more is left to others: a function that takes its time
// shouldn't hold up those that come with its event.
const excess = 2

// unpack replaces packets by their events.
func (c *consumer) unpack(ctx context.Context, packets ...int64) error {
	return c.alone(ctx, func(tx gorm.ConnPool) error { return c.store.unpack(ctx, tx, c, packets) })
}

// handle handles the events. When a function fails, the transaction is rolled
// back, and they are handled one by one.
func (t *transaction) handle(ctx context.Context) error {
	defer t.tx.Rollback() // after a commit it does nothing
	start := time.Now()
	// A batch has a limit, but for packets; what is more goes back.
	n := min(len(t.events), t.pace.limit)
	result := t.call(ctx, t.tx, plain.Pool(t.tx), t.events[:n], func() bool { return time.Since(start) < target && !t.stopping() })
	err := result.err
	if err == nil {
		t.pace.took(result.handled, min(t.asked, n), time.Since(start))
		result.left = append(result.left, t.events[n:]...)
		if err = t.settle(ctx, t.tx, result); err == nil {
			err = t.tx.Commit().Error
		}
	}
	switch {
	case err == nil:
		t.count(result)
		return nil
	case ctx.Err() != nil: // a hard stop
		return ctx.Err()
	case result.err == nil && !definite(err):
		// Whether it was committed is not known; what wasn't is claimed again.
		t.lookAgain()
		return fmt.Errorf("commit: %w", err)
	}
	t.tx.Rollback()
	t.pace.failed()
	defer t.lookAgain()
	if e := result.culprit; e != nil && t.guilty(e, result) {
		id := e.id // deleting moves what e points at
		if err := t.record(ctx, *e, result.err); err != nil {
			return err
		}
		t.events = slices.DeleteFunc(t.events, func(o event) bool { return o.id == id })
	}
	return t.oneByOne(ctx, t.events)
}

// guilty reports whether the failure counts as the event's attempt, so that it
// isn't handled again at once. It may be another's fault, whose function was
// called before in the same transaction: the event is not given up for that.
func (t *transaction) guilty(e *event, result tally) bool {
	if result.handled == 0 {
		return true
	}
	var failure *pgconn.PgError
	if errors.As(result.err, &failure) && failure.Code == inFailedTransaction {
		return false
	}
	_, again := t.sub.retry.next(e.failed+1, result.err)
	return again
}

// inFailedTransaction is the SQLSTATE of statements after one that has failed.
const inFailedTransaction = "25P02"

// settle does in the transaction what has to be done with events that were not
// handled.
func (c *consumer) settle(ctx context.Context, tx *gorm.DB, t tally) error {
	if len(t.left) > 0 {
		if err := c.store.returns(ctx, plain.Pool(tx), c, t.left); err != nil {
			return err
		}
	}
	for _, r := range t.refused {
		if err := c.store.die(ctx, plain.Pool(tx), c, r.event, r.event.failed+1, r.err); err != nil {
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
		c.lookAgain()
	}
}

// oneByOne handles events each in a transaction of its own, so that only those
// fail whose function does.
func (c *consumer) oneByOne(ctx context.Context, events []event) error {
	for _, e := range events {
		if c.stopping() || ctx.Err() != nil {
			return nil
		}
		if err := c.single(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// take claims one event in a new transaction, and none when it is gone or its turn
// hasn't come.
func (c *consumer) take(ctx context.Context, e event) (tx *gorm.DB, events []event, err error) {
	if tx, err = c.begin(ctx); err != nil {
		return nil, nil, err
	}
	if e.packet != 0 {
		err = c.store.unpack(ctx, plain.Pool(tx), c, []int64{e.packet})
	}
	if err == nil {
		events, err = c.store.claimOne(ctx, plain.Pool(tx), c, e.id)
	}
	if err != nil || len(events) == 0 {
		tx.Rollback()
	}
	return tx, events, err
}

// savepoint is what the transaction of a single event goes back to.
const savepoint = "pubsub_event"

// single claims and handles one event. A failure undoes what the function did,
// and decides in the same transaction what becomes of the event, which nobody
// else can take in between.
func (c *consumer) single(ctx context.Context, e event) error {
	tx, events, err := c.take(ctx, e)
	if err != nil || len(events) == 0 {
		return err
	}
	defer tx.Rollback()
	// Not by GORM's SavePoint and RollbackTo, which don't tell when they fail.
	if _, err := plain.Pool(tx).ExecContext(ctx, "SAVEPOINT "+savepoint); err != nil {
		return err
	}
	t := c.call(ctx, tx, plain.Pool(tx), events, func() bool { return true })
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
		case !definite(err):
			return fmt.Errorf("commit: %w", err)
		}
		tx.Rollback()
		return c.record(ctx, e, fmt.Errorf("the function returned nil, but its transaction can't be committed: %w", err))
	}
	if _, err := plain.Pool(tx).ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+savepoint); err != nil {
		tx.Rollback() // the session is gone, or the function has ended the transaction
		return c.record(ctx, e, t.err)
	}
	return c.decide(ctx, tx, events[0], t.err)
}

// record records a failed attempt in a transaction of its own.
func (c *consumer) record(ctx context.Context, e event, cause error) error {
	tx, events, err := c.take(ctx, e)
	if err != nil || len(events) == 0 {
		return err
	}
	defer tx.Rollback()
	return c.decide(ctx, tx, events[0], cause)
}

// decide commits what becomes of a claimed event whose function has failed.
func (c *consumer) decide(ctx context.Context, tx *gorm.DB, e event, cause error) error {
	pause, again := c.sub.retry.next(e.failed+1, cause)
	var err error
	if again {
		err = c.store.again(ctx, plain.Pool(tx), c, e, pause, cause)
	} else {
		err = c.store.die(ctx, plain.Pool(tx), c, e, e.failed+1, cause)
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
