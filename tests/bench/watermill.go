package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const topic = "readings"

// watermillTuning is what can be set to make watermill-sql faster, and to which
// of its two pairs of adapters for Postgres.
type watermillTuning struct {
	queue bool // a table from which acknowledged messages are deleted; else a log with an offset per consumer group
	batch int
	poll  time.Duration // how long it waits when it has found nothing

	// decode gives the handler the row, as our handler has it, and
	// not only its bytes.
	decode bool
}

var (
	watermillQueue1000 = watermillTuning{queue: true, batch: 1000, poll: 5 * time.Millisecond}
	watermillQueue5000 = watermillTuning{queue: true, batch: 5000, poll: 5 * time.Millisecond}
	watermillDecoded   = watermillTuning{queue: true, batch: 1000, poll: 5 * time.Millisecond, decode: true}
	watermillLog1000   = watermillTuning{queue: false, batch: 1000, poll: 5 * time.Millisecond}
)

// watermillQueue is watermill-sql.
type watermillQueue struct {
	tuning watermillTuning
	handle func(id int64)

	db         *database
	pool       *pgxpool.Pool
	schema     wsql.SchemaAdapter
	offsets    wsql.OffsetsAdapter
	subscriber *wsql.Subscriber
	cancel     context.CancelFunc
	ended      chan struct{}
	errs       chan error
}

func newWatermill(tuning watermillTuning, handle func(id int64)) *watermillQueue {
	q := &watermillQueue{tuning: tuning, handle: handle, errs: make(chan error, 1)}
	if tuning.queue {
		q.schema = wsql.PostgreSQLQueueSchema{SubscribeBatchSize: tuning.batch}
		q.offsets = wsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true}
	} else {
		q.schema = wsql.DefaultPostgreSQLSchema{SubscribeBatchSize: tuning.batch}
		q.offsets = wsql.DefaultPostgreSQLOffsetsAdapter{}
	}
	return q
}

func (q *watermillQueue) open(ctx context.Context, db *database) (err error) {
	q.db = db
	if q.pool, err = db.newPool(ctx, 8); err != nil { // through pgx, which is faster here than database/sql
		return err
	}
	var never time.Duration // a deadline takes a timer for each message
	q.subscriber, err = wsql.NewSubscriber(wsql.BeginnerFromPgx(q.pool), wsql.SubscriberConfig{
		PollInterval: q.tuning.poll, ResendInterval: time.Millisecond, RetryInterval: time.Millisecond, AckDeadline: &never,
		SchemaAdapter: q.schema, OffsetsAdapter: q.offsets,
	}, nil)
	if err != nil {
		return err
	}
	if err := q.subscriber.SubscribeInitialize(topic); err != nil {
		return err
	}
	return db.migrate(&Reading{})
}

func (q *watermillQueue) publish(ctx context.Context, tx pgx.Tx, rows []Reading) error {
	publisher, err := wsql.NewPublisher(wsql.TxFromPgx(tx), wsql.PublisherConfig{SchemaAdapter: q.schema}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	messages := make([]*message.Message, len(rows))
	for i := range rows {
		payload, err := rows[i].payload()
		if err != nil {
			return err
		}
		// The ID as the message's, so that the handler needn't decode to count.
		messages[i] = message.NewMessageWithContext(ctx, strconv.FormatInt(rows[i].ID, 10), payload)
	}
	return publisher.Publish(topic, messages...)
}

func (q *watermillQueue) store(ctx context.Context, n int) error {
	for first := 1; first <= n; first += 1000 {
		err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
			return q.publish(ctx, tx, numbered(first, min(1000, n-first+1)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *watermillQueue) enqueue(ctx context.Context, tx pgx.Tx, rows []Reading) error {
	return q.publish(ctx, tx, rows)
}

func (q *watermillQueue) start(ctx context.Context) error {
	ctx, q.cancel = context.WithCancel(ctx)
	messages, err := q.subscriber.Subscribe(ctx, topic)
	if err != nil {
		return err
	}
	q.ended = make(chan struct{})
	go func() {
		defer close(q.ended)
		for m := range messages {
			id, err := strconv.ParseInt(m.UUID, 10, 64)
			if err == nil && q.tuning.decode {
				var row Reading
				err = json.Unmarshal(m.Payload, &row)
			}
			if err != nil {
				q.errs <- fmt.Errorf("message %q: %w", m.UUID, err)
				return
			}
			q.handle(id)
			m.Ack()
		}
	}()
	return nil
}

// ready: it polls, from Subscribe on.
func (q *watermillQueue) ready(context.Context) error { return nil }

func (q *watermillQueue) failed() <-chan error { return q.errs }

func (q *watermillQueue) drained(ctx context.Context, n int) (done bool, err error) {
	if q.tuning.queue { // the last batch's messages are still there
		err = q.db.pool.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM watermill_readings WHERE "offset" > $1)`, n-q.tuning.batch).Scan(&done)
		return done, err
	}
	// The consumer's offset is the last message's.
	err = q.db.pool.QueryRow(ctx, `SELECT COALESCE((SELECT (o.last_processed_transaction_id, o.offset_acked) =
			(SELECT m.transaction_id, m."offset" FROM watermill_readings m ORDER BY m.transaction_id DESC, m."offset" DESC LIMIT 1)
		FROM watermill_offsets_readings o), false)`).Scan(&done)
	return done, err
}

func (q *watermillQueue) verify(ctx context.Context, n int) error {
	want := n
	if q.tuning.queue {
		want = 0
	}
	stored, err := q.db.count(ctx, "SELECT count(*) FROM watermill_readings")
	if err == nil && stored != want {
		err = fmt.Errorf("%d messages are stored, and should be %d", stored, want)
	}
	if err != nil {
		return err
	}
	done, err := q.drained(ctx, n)
	if err == nil && !done {
		err = errors.New("the last message isn't acknowledged")
	}
	return err
}

func (q *watermillQueue) stop(context.Context) error {
	q.cancel()
	err := q.subscriber.Close()
	<-q.ended
	q.pool.Close()
	return err
}
