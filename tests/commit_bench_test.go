package tests

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// BenchmarkTransaction compares a transaction with one insert with what it takes
// without hooks, in turn and in one run. Each iteration is one of each; it reports
// the medians' ratios, and how many allocations come on top: -benchtime 3000x.
func BenchmarkTransaction(b *testing.B) {
	dsn := dsnOf(b, pubsubtest.Open(b, pubsubtest.Registry(hooks.NewRegistry()), pubsubtest.Models(&parcel{})))
	variants := []struct {
		name   string
		plugin bool
		hook   bool
	}{{"without", false, false}, {"with", true, false}, {"hook", true, true}}
	dbs := make([]*gorm.DB, len(variants))
	for i, v := range variants {
		db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
		require.NoError(b, err)
		if v.plugin {
			require.NoError(b, db.Use(hooks.Transactions{}))
		}
		pool, err := db.DB()
		require.NoError(b, err)
		b.Cleanup(func() { _ = pool.Close() })
		dbs[i] = db
	}
	called := 0
	transaction := func(i int) {
		err := dbs[i].Transaction(func(tx *gorm.DB) error {
			if variants[i].hook {
				if err := hooks.AfterCommit(tx, func(context.Context) { called++ }); err != nil {
					return err
				}
			}
			return tx.Create(&parcel{Label: "x"}).Error
		})
		require.NoError(b, err)
	}
	var allocations [3]float64
	for i := range variants {
		allocations[i] = testing.AllocsPerRun(200, func() { transaction(i) })
	}
	called = 0
	var took [3][]float64
	for n := range b.N {
		for j := range variants {
			i := (n + j) % len(variants) // none of them is always first
			start := time.Now()
			transaction(i)
			took[i] = append(took[i], float64(time.Since(start)))
		}
	}
	require.Equal(b, b.N, called)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(slices.Clone(took[0]))/1000, "µs/tx")
	for i, v := range variants[1:] {
		b.ReportMetric(median(slices.Clone(took[i+1]))/median(slices.Clone(took[0])), v.name+"-ratio")
		b.ReportMetric(allocations[i+1]-allocations[0], v.name+"-allocs")
	}
}
