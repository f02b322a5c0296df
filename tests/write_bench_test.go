package tests

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// BenchmarkWrite compares the rate of writing rows to a table with a broadcast
// trigger, to which nobody listens, with the rate without one, in turn and in
// one run. Each iteration is such a pair; it reports their medians:
// -benchtime 7x.
func BenchmarkWrite(b *testing.B) {
	ignore := func(context.Context, *gorm.DB, hooks.TriggerPayload[Reading]) error { return nil }
	onSave := func(r *listener.Registry) {
		hooks.OnSave(&Reading{}, ignore, hooks.Broadcast(), hooks.In(r), hooks.Name("save"))
	}
	batch := make([]Reading, 1000)
	for i := range batch {
		batch[i] = Reading{Sensor: fmt.Sprint("thermometer ", i), Place: "the roof", Unit: "degrees", Valid: true, Value: 20.5, TakenAt: time.Now(), CreatedAt: time.Now()}
	}
	for _, c := range []struct {
		name  string
		rows  int
		write func(*gorm.DB) error
	}{
		{"SingleRowCommits", 2000, func(db *gorm.DB) error {
			for i := range 2000 {
				row := batch[i%len(batch)]
				if err := db.Create(&row).Error; err != nil {
					return err
				}
			}
			return nil
		}},
		{"GORMBatchesOf1000", 10_000, func(db *gorm.DB) error {
			for range 10 {
				rows := append([]Reading(nil), batch...)
				if err := db.Create(&rows).Error; err != nil {
					return err
				}
			}
			return nil
		}},
		{"InsertSelect10000", 10_000, func(db *gorm.DB) error {
			return db.Exec(`INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
				SELECT 'thermometer ' || i, 'the roof', 'degrees', true, 20.5 + i, i % 16, now(), now() FROM generate_series(1, 10000) i`).Error
		}},
		{"Update10000", 10_000, func(db *gorm.DB) error {
			return db.Exec(`UPDATE readings SET value = value + 1`).Error
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var dbs [2]*gorm.DB
			for i := range dbs {
				r := hooks.NewRegistry()
				if i == 1 {
					onSave(r)
				}
				dbs[i] = pubsubtest.Open(b, pubsubtest.Registry(r), pubsubtest.Models(&Reading{}))
			}
			var rates [2][]float64
			var ratios []float64
			for range b.N {
				var pair [2]float64
				for i, db := range dbs {
					require.NoError(b, db.Exec(`TRUNCATE readings`).Error)
					if c.name == "Update10000" {
						require.NoError(b, db.CreateInBatches(append([]Reading(nil), manyReadings(batch)...), 1000).Error)
					}
					start := time.Now()
					require.NoError(b, c.write(db))
					pair[i] = float64(c.rows) / time.Since(start).Seconds()
					rates[i] = append(rates[i], pair[i])
				}
				ratios = append(ratios, pair[1]/pair[0])
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rates[0]), "bare-rows/s")
			b.ReportMetric(median(rates[1]), "rows/s")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func manyReadings(batch []Reading) []Reading {
	var rows []Reading
	for range 10 {
		rows = append(rows, batch...)
	}
	return rows
}
