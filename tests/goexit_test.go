package tests

import (
	"context"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

type leaver struct {
	ID   int64
	Name string
	Tags []string `gorm:"serializer:json"`
}

// A function that ends its goroutine, as require does in a test, is a failure
// of that event alone.
func TestFunctionThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	for name, workers := range map[string]int{"InOrder": 1, "Concurrent": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			got := make(chan int64, 10)
			hooks.OnInsert(&leaver{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[leaver]) error {
				if p.New.Name == "leave" {
					runtime.Goexit()
				}
				got <- p.New.ID
				return nil
			}, hooks.Broadcast(), hooks.In(r), hooks.Name("leaver"), hooks.Concurrency(workers))
			db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&leaver{}))
			stop := pubsubtest.Listen(t, db)
			for _, name := range []string{"a", "leave", "b", "leave", "leave", "c", "leave", "d", "leave", "e"} {
				require.NoError(t, db.Create(&leaver{Name: name}).Error)
			}
			var ids []int64
			for range 5 {
				ids = append(ids, <-got)
			}
			slices.Sort(ids)
			require.Equal(t, []int64{1, 3, 6, 8, 10}, ids)
			stop()
			h := pubsubtest.Of(t, db).Health().Subscriptions[0]
			require.EqualValues(t, 5, h.Failed)
			require.EqualValues(t, 5, h.Handled)
			require.Zero(t, h.Running)
			require.Zero(t, h.Waiting)
			require.Zero(t, h.Dropped)
		})
	}
}

func TestChangedWithASerializer(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := make(chan [2]bool, 10)
	hooks.OnUpdate(&leaver{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[leaver]) error {
		got <- [2]bool{p.Changed("name"), p.Changed("Tags")}
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("changed"))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&leaver{}))
	pubsubtest.Listen(t, db)
	row := leaver{Name: "a", Tags: []string{"x"}}
	require.NoError(t, db.Create(&row).Error)
	require.NoError(t, db.Model(&row).Update("name", "b").Error)
	require.Equal(t, [2]bool{true, false}, <-got)
	require.NoError(t, db.Model(&row).Updates(leaver{Tags: []string{"x", "y"}}).Error)
	require.Equal(t, [2]bool{false, true}, <-got)
}
