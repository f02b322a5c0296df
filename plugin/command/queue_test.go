package command_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// A queue from its first event to its last, as an operator sees it.
func TestQueueCommands(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	well := false
	hooks.OnInsert(&Parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Parcel]) error {
		if well {
			return nil
		}
		panic("no way to " + p.New.City)
	}, hooks.In(r), hooks.Name("send"), hooks.Ordered(), hooks.Retry(listener.RetryPolicy{Attempts: 1}))
	hooks.OnInsert(&Parcel{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[Parcel]) error { return nil },
		hooks.In(r), hooks.Name("tell"), hooks.Broadcast())
	b := bundle{db: pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Parcel{}))}
	for _, city := range []string{"Rome", "Oslo", "Lima"} {
		require.NoError(t, b.db.Create(&Parcel{City: city}).Error)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := b.run(t, args...)
		require.NoError(t, err, args)
		return out
	}

	status := fields(run("status"))
	require.Equal(t, []string{"SUBSCRIPTION", "CHANNEL", "DELIVERY", "LISTENERS", "READY", "SCHEDULED", "DEAD", "OLDEST"}, status[0])
	require.Equal(t, []string{"send", "parcels_insert", "durable,", "ordered", "0", "3", "0", "0"}, status[1][:8])
	require.Equal(t, []string{"tell", "parcels_insert", "broadcast", "0", "0", "0", "0", "-"}, status[2])
	require.Empty(t, run("pause", "send"))
	require.Contains(t, run("status"), "durable, ordered, paused")
	pubsubtest.Drain(t, b.db)
	require.Len(t, pubsubtest.Events(t, b.db), 3, "it is paused")
	require.Empty(t, run("resume", "send"))
	_, err := pubsubtest.Of(t, b.db).Drain(t.Context())
	require.ErrorContains(t, err, "no way to")

	var ids []int64
	for line := range strings.Lines(run("dead", "send")) {
		var letter map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &letter))
		require.Contains(t, letter["error"], "no way to")
		require.Contains(t, letter["stack"], "TestQueueCommands")
		require.Equal(t, []any{"send", "parcels_insert", "insert", 1.0}, []any{letter["subscription"], letter["channel"], letter["op"], letter["attempt"]})
		require.NotContains(t, letter, "payload")
		ids = append(ids, int64(letter["id"].(float64)))
	}
	require.Len(t, ids, 3)
	require.Equal(t, 2, strings.Count(run("dead", "-n", "2", "--payload"), `"payload":{"id":`))
	require.Equal(t, 3, strings.Count(run("dead", "-n", "0"), "\n"))
	require.Empty(t, run("dead", "tell"))

	well = true
	require.Equal(t, "1 dead letters are in the queue again\n", run("redrive", "send", fmt.Sprint(ids[1])))
	require.Empty(t, run("rename", "send", "deliver"))
	require.Equal(t, "2 dead letters are in the queue again\n", run("redrive", "deliver"))
	require.Contains(t, run("status"), "deliver")
	require.Contains(t, run("migrate", "--prune"), `dropped: subscription "deliver" on channel "parcels_insert" with 3 events`)

	for _, args := range [][]string{{"pause", "nobody"}, {"resume", "nobody"}, {"rename", "nobody", "x"}} {
		_, err := b.run(t, args...)
		require.ErrorIs(t, err, listener.ErrUnknownSubscription, args)
	}
	_, err = b.run(t, "redrive", "send", "x1")
	require.ErrorContains(t, err, `"x1"`)
	require.NotErrorIs(t, err, listener.ErrUnknownSubscription)
	for _, args := range [][]string{{"pause"}, {"resume", "a", "b"}, {"rename", "a"}, {"redrive"}, {"dead", "a", "b"}, {"status", "a"}} {
		_, err := b.run(t, args...)
		require.Error(t, err, args)
	}
}
