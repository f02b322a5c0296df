package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

var copyGroup = group{
	key: "copy", title: "COPY of 10,000 rows",
	contenders: []contender{
		{name: ourTrigger, run: func(ctx context.Context, size size, db *database) (found figures, err error) {
			rows := size.copies * size.copyRows
			t := newTally(rows)
			q := newOurs(oursCount(t))
			if err := q.open(ctx, db); err != nil {
				return nil, err
			}
			err = working(ctx, q, func() error {
				if err := q.ready(ctx); err != nil {
					return err
				}
				// The statement is measured; what the listener does after it isn't.
				found, err = copies(ctx, db, size, func(n int) error { return t.wait(ctx, q, n) })
				return err
			})
			if err != nil {
				return nil, err
			}
			return found, errors.Join(t.check(rows), q.verify(ctx, rows))
		}},
		{name: noTrigger, run: func(ctx context.Context, size size, db *database) (figures, error) {
			if err := db.migrate(&Reading{}); err != nil {
				return nil, err
			}
			return copies(ctx, db, size, func(int) error { return nil })
		}},
	},
	bars: []bar{
		{title: "COPY of 10,000 rows with a durable listener, against no trigger", of: figure{ourTrigger, rowRate}, against: figure{noTrigger, rowRate}, least: 0.45},
	},
}

// copies returns the rate of the COPY statements. between is called after each,
// with the number of rows so far.
func copies(ctx context.Context, db *database, size size, between func(n int) error) (figures, error) {
	conn, err := pgx.Connect(ctx, db.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows := make([][]any, size.copyRows)
	for i := range rows {
		row := newReading(i)
		rows[i] = row.columns()
	}
	if err := db.settle(ctx); err != nil {
		return nil, err
	}
	var took time.Duration
	for i := range size.copies {
		start := time.Now()
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"readings"}, readingColumns, pgx.CopyFromRows(rows)); err != nil {
			return nil, err
		}
		took += time.Since(start)
		if err := between((i + 1) * size.copyRows); err != nil {
			return nil, err
		}
	}
	n, err := db.count(ctx, "SELECT count(*) FROM readings")
	if want := size.copies * size.copyRows; err == nil && n != want {
		err = fmt.Errorf("there are %d rows, and should be %d", n, want)
	}
	return figures{rowRate: perSecond(size.copies*size.copyRows, took)}, err
}
