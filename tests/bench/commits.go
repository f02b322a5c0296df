package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	noTrigger   = "no trigger"
	ourTrigger  = "ours, with a listener at work"
	notifyEvery = "a trigger that stores and notifies"
	rowRate     = "rows/s"
)

// notifyingTrigger is the usual outbox: a row of JSON, and a notification with
// every commit.
const notifyingTrigger = `
	CREATE TABLE outbox (id bigserial PRIMARY KEY, payload json NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
	CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO outbox (payload) VALUES (row_to_json(NEW));
		PERFORM pg_notify('outbox', '');
		RETURN NULL;
	END $$;
	CREATE TRIGGER to_outbox AFTER INSERT ON readings FOR EACH ROW EXECUTE FUNCTION to_outbox()`

var commitsGroup = group{
	key: "commits", title: "16 writers' single-row commits",
	contenders: commitContenders(false),
	bars: []bar{
		{title: "16 writers' single-row commits with a durable listener, against no trigger", of: figure{ourTrigger, rowRate}, against: figure{noTrigger, rowRate}, least: 0.5},
		{title: "16 writers' single-row commits, against a trigger that notifies on every commit", of: figure{ourTrigger, rowRate}, against: figure{notifyEvery, rowRate}, least: 3},
	},
}

var commitsSlowGroup = group{
	key: "commits-slow", title: "the same, each fsync 1 ms slower",
	contenders: commitContenders(true),
	bars: []bar{
		{title: "the same with each fsync 1 ms slower, against no trigger", of: figure{ourTrigger, rowRate}, against: figure{noTrigger, rowRate}, least: 0.8},
		{title: "the same with each fsync 1 ms slower, against a trigger that notifies on every commit", of: figure{ourTrigger, rowRate}, against: figure{notifyEvery, rowRate}},
	},
}

func commitContenders(slow bool) []contender {
	return []contender{
		{name: ourTrigger, slow: slow, run: oursCommits},
		{name: noTrigger, slow: slow, run: func(ctx context.Context, size size, db *database) (figures, error) {
			if err := db.migrate(&Reading{}); err != nil {
				return nil, err
			}
			per, _, err := commits(ctx, db, size)
			return figures{rowRate: per}, err
		}},
		{name: notifyEvery, slow: slow, run: notifyingCommits},
	}
}

// oursCommits has the listener at work, and fails unless it handles every row's event.
func oursCommits(ctx context.Context, size size, db *database) (found figures, err error) {
	t := newTally(size.writers * int((size.warm + size.write).Milliseconds()) * 20) // none commits 20 rows in a millisecond
	q := newOurs(oursCount(t))
	if err := q.open(ctx, db); err != nil {
		return nil, err
	}
	var rows int
	err = working(ctx, q, func() error {
		if err := q.ready(ctx); err != nil {
			return err
		}
		var per float64
		if per, rows, err = commits(ctx, db, size); err != nil {
			return err
		}
		found = figures{rowRate: per}
		return t.wait(ctx, q, rows)
	})
	if err != nil {
		return nil, err
	}
	return found, errors.Join(t.check(rows), q.verify(ctx, rows))
}

// notifyingCommits has somebody who listens and does nothing else, since nobody
// notifies for nobody.
func notifyingCommits(ctx context.Context, size size, db *database) (found figures, err error) {
	if err := db.migrate(&Reading{}); err != nil {
		return nil, err
	}
	if err := db.exec(ctx, notifyingTrigger); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, db.url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN outbox"); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	hearing, stop := context.WithCancel(ctx)
	var heard sync.WaitGroup
	heard.Go(func() {
		for {
			if _, err := conn.WaitForNotification(hearing); err != nil {
				return
			}
		}
	})
	defer func() {
		stop()
		heard.Wait()
		_ = conn.Close(context.WithoutCancel(ctx))
	}()
	per, rows, err := commits(ctx, db, size)
	if err != nil {
		return nil, err
	}
	stored, err := db.count(ctx, "SELECT count(*) FROM outbox")
	if err == nil && stored != rows {
		err = fmt.Errorf("the outbox has %d rows, and should have %d", stored, rows)
	}
	return figures{rowRate: per}, err
}

// commits lets the writers insert single rows, each with a prepared statement on
// a connection of its own. It returns their rate after the warm-up, and how many
// rows they wrote in all.
func commits(ctx context.Context, db *database, size size) (per float64, rows int, err error) {
	if err := db.settle(ctx); err != nil {
		return 0, 0, err
	}
	var written atomic.Int64
	var writers sync.WaitGroup
	errs := make(chan error, size.writers)
	stop := make(chan struct{})
	var conns []*pgx.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for range size.writers {
		conn, err := pgx.Connect(ctx, db.url)
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, conn)
		if _, err := conn.Prepare(ctx, "insert", insertReading); err != nil {
			return 0, 0, err
		}
	}
	for _, conn := range conns {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				row := newReading(i)
				if _, err := conn.Exec(ctx, "insert", row.columns()...); err != nil {
					errs <- err
					return
				}
				written.Add(1)
			}
		})
	}
	count := func(d time.Duration) (int64, error) {
		before := written.Load()
		select {
		case <-time.After(d): // the time in which is counted
			return written.Load() - before, nil
		case err := <-errs:
			return 0, err
		}
	}
	_, err = count(size.warm)
	if err == nil {
		start := time.Now()
		var n int64
		n, err = count(size.write)
		per = float64(n) / time.Since(start).Seconds()
	}
	close(stop)
	writers.Wait()
	if err != nil {
		return 0, 0, err
	}
	if rows, err = db.count(ctx, "SELECT count(*) FROM readings"); err == nil && int64(rows) != written.Load() {
		err = fmt.Errorf("there are %d rows, and should be %d", rows, written.Load())
	}
	return per, rows, err
}
