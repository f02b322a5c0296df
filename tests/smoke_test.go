package tests

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

type Author struct {
	ID        uint
	Name      string
	Score     int
	CreatedAt time.Time
}

func TestSmoke(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := make(chan hooks.TriggerPayload[Author], 100)
	h := func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Author]) error { got <- p; return nil }
	hooks.OnInsert(&Author{}, h, hooks.Broadcast(), hooks.In(r), hooks.Name("i"))
	hooks.OnUpdate(&Author{}, h, hooks.Broadcast(), hooks.In(r), hooks.Name("u"), hooks.Columns("Score"), hooks.When("OLD.name <> 'x'"))
	hooks.OnDelete(&Author{}, h, hooks.Broadcast(), hooks.In(r), hooks.Name("d"))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Author{}))
	pubsubtest.Listen(t, db)
	a := Author{Name: "Ada"}
	require.NoError(t, db.Create(&a).Error)
	p := <-got
	require.Equal(t, "insert", p.Op.String())
	require.Equal(t, "Ada", p.New.Name)
	require.NoError(t, db.Model(&a).Update("score", 3).Error)
	p = <-got
	require.Equal(t, 3, p.New.Score)
	require.Equal(t, 0, p.Old.Score)
	require.True(t, p.Changed("Score"))
	require.NoError(t, db.Delete(&a).Error)
	p = <-got
	require.Equal(t, "Ada", p.Old.Name)
}
