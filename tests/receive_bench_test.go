package tests

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// Reading has ten columns and takes about 220 bytes as JSON.
type Reading struct {
	ID        int64
	Sensor    string
	Place     string
	Unit      string
	Valid     bool
	Value     float64
	Channel   int32
	TakenAt   time.Time
	CreatedAt time.Time
	Remark    *string
}

const insertReading = `INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
VALUES ('thermometer ' || i, 'the roof', 'degrees', true, 20.5 + i, i % 16, clock_timestamp(), clock_timestamp())`

// BenchmarkReceive compares the rate at which a declared function gets events,
// received, decoded and dispatched, with the rate at which a bare connection of
// pgx receives the same notifications, in turn and in one run. Each iteration
// is such a pair; it reports the medians of both rates, the
// median of the pairs' ratios and the ratio of the medians, which single slow
// passes move less: -benchtime 7x.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct {
		name   string
		rows   int
		script string
	}{
		{"SingleRowStatements", 100_000, `DO $$ BEGIN FOR i IN 1..100000 LOOP ` + insertReading + `; END LOOP; END $$`},
		{"OneStatement", 300_000, `INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
SELECT 'thermometer ' || i, 'the roof', 'degrees', true, 20.5 + i, i % 16, clock_timestamp(), clock_timestamp() FROM generate_series(1, 300000) i`},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkReceive(b, c.rows, c.script) })
	}
}

func benchmarkReceive(b *testing.B, rows int, script string) {
	var handled atomic.Int64
	var first, last time.Time
	done := make(chan struct{}, 1)
	r := hooks.NewRegistry()
	hooks.OnInsert(&Reading{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Reading]) error {
		switch n := handled.Add(1); {
		case n == 1:
			first = time.Now()
		case n == int64(rows):
			last = time.Now()
			done <- struct{}{}
		}
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("bench"), hooks.Buffer(1_000_000))
	db := pubsubtest.Open(b, pubsubtest.Registry(r), pubsubtest.Models(&Reading{}))
	ctx := context.Background()

	var ours, bare, ratios []float64
	for range b.N {
		require.NoError(b, db.Exec("TRUNCATE readings").Error)
		rate := bareRate(ctx, b, db, rows, script)
		require.NoError(b, db.Exec("TRUNCATE readings").Error)

		handled.Store(0)
		stop := pubsubtest.Listen(b, db)
		require.NoError(b, db.Exec(script).Error)
		select {
		case <-done:
		case <-time.After(time.Minute):
			b.Fatalf("%d of %d events", handled.Load(), rows)
		}
		stop()
		own := float64(rows) / last.Sub(first).Seconds()
		ours, bare, ratios = append(ours, own), append(bare, rate), append(ratios, own/rate)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(bare), "bare-events/s")
	b.ReportMetric(median(ours), "events/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(ours)/median(bare), "medians-ratio")
}

// bareRate receives the notifications of the script with pgx alone, and returns
// the rows in them a second.
func bareRate(ctx context.Context, b *testing.B, db *gorm.DB, rows int, script string) float64 {
	b.Helper()
	pool, err := db.DB()
	require.NoError(b, err)
	borrowed, err := pool.Conn(ctx)
	require.NoError(b, err)
	var config *pgx.ConnConfig
	require.NoError(b, borrowed.Raw(func(c any) error {
		config = c.(interface{ Conn() *pgx.Conn }).Conn().Config() //nolint:forcetypeassert // pgx's driver
		return nil
	}))
	require.NoError(b, borrowed.Close())
	config.OnNotification = nil
	conn, err := pgx.ConnectConfig(ctx, config)
	require.NoError(b, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `LISTEN readings_insert; LISTEN done`)
	require.NoError(b, err)
	require.NoError(b, db.Exec(script).Error)
	require.NoError(b, db.Exec("NOTIFY done").Error)
	var first time.Time
	for n := 0; ; n++ {
		notification, err := conn.WaitForNotification(ctx)
		require.NoError(b, err)
		if n == 0 {
			first = time.Now()
		}
		if notification.Channel == "done" {
			return float64(rows) / time.Since(first).Seconds()
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
