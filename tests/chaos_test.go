package tests

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// heartbeat is written by a goroutine while connections break.
type heartbeat struct {
	ID   int64
	Note string
}

const heartbeatChannel = "heartbeats_insert"

func heartbeatInbox(r *listener.Registry) inbox[int64] {
	in := newInbox[int64]()
	hooks.OnInsert(&heartbeat{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[heartbeat]) error {
		in <- p.New.ID
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("heartbeats"))
	return in
}

// beat is one written row: between which times it was committed.
type beat struct {
	id       int64
	from, to time.Time
}

// heart writes rows until it is stopped, and returns those that were written.
func heart(t *testing.T, db *gorm.DB, tolerant bool) (stop func() []beat) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan struct{})
	var beats []beat
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			from, row := time.Now(), heartbeat{Note: "beat"}
			err := db.Create(&row).Error
			if err == nil {
				beats = append(beats, beat{row.ID, from, time.Now()})
			} else if !assert.True(t, tolerant, "the writer was disturbed: %v", err) {
				return
			}
		}
	}()
	stop = sync.OnceValue(func() []beat { close(quit); <-done; return beats })
	t.Cleanup(func() { stop() })
	return stop
}

// checkBeats fails unless every beat arrived once, in order, but for those in
// gaps. A last row shows that everything before it has arrived.
func checkBeats(t *testing.T, db *gorm.DB, in inbox[int64], beats []beat, gaps []listener.Gap) {
	t.Helper()
	last := heartbeat{Note: "last"}
	require.NoError(t, db.Create(&last).Error)
	var arrived []int64
	for {
		id := in.next(t)
		if id == last.ID {
			break
		}
		arrived = append(arrived, id)
	}
	require.True(t, slices.IsSorted(arrived), "one writer's rows arrive in their order")
	require.Len(t, slices.Compact(slices.Clone(arrived)), len(arrived), "nothing arrives twice")
	for _, b := range beats {
		if _, ok := slices.BinarySearch(arrived, b.id); ok {
			continue
		}
		inGap := slices.ContainsFunc(gaps, func(g listener.Gap) bool { return !b.to.Before(g.From) && !b.from.After(g.To) })
		assert.True(t, inGap, "row %d, written from %s to %s, is missing outside of the gaps", b.id, b.from, b.to)
	}
}

// killListener ends the session that listens on the channel, and returns when.
func killListener(t *testing.T, db *gorm.DB, channel string, killed map[int]bool) time.Time {
	t.Helper()
	for {
		sessions, err := pubsubtest.Of(t, db).Listeners(t.Context(), channel)
		require.NoError(t, err)
		for _, s := range sessions {
			if killed[s.PID] { // it takes a moment to go
				continue
			}
			killed[s.PID] = true
			before := time.Now()
			require.NoError(t, db.Exec("SELECT pg_terminate_backend(?)", s.PID).Error)
			return before
		}
	}
}

func TestListeningSessionIsKilled(t *testing.T) {
	t.Parallel()
	for name, kills := range map[string]int{"Once": 1, "ManyTimes": 6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := heartbeatInbox(r)
			gaps := newInbox[listener.Gap]()
			db, log := taped(t, r, []any{&heartbeat{}}, pubsub.OnGap(func(_ context.Context, g listener.Gap) { gaps <- g }))
			pubsubtest.Listen(t, db)
			p := pubsubtest.Of(t, db)
			stop := heart(t, db, false)
			comesTrue(t, func() bool { return len(in) > 0 }, "a row arrives")

			var all []listener.Gap
			killed := map[int]bool{}
			for n := range kills {
				at := killListener(t, db, heartbeatChannel, killed)
				gap := gaps.next(t)
				all = append(all, gap)
				require.False(t, gap.From.After(time.Now()))
				require.False(t, gap.To.Before(at), "the gap ends when there is a connection again")
				require.True(t, gap.From.Before(gap.To))
				require.Less(t, at.Sub(gap.From), 5*time.Second, "rows arrived until shortly before")
				require.Equal(t, []string{heartbeatChannel}, gap.Channels)
				var cause *pgconn.PgError
				require.ErrorAs(t, gap.Cause, &cause)
				require.Equal(t, "57P01", cause.Code)
				require.EqualValues(t, n+1, p.Health().Reconnects)
			}
			beats := stop()
			checkBeats(t, db, in, beats, all)

			h := p.Health()
			require.NoError(t, h.Err())
			require.True(t, h.Listening)
			require.ErrorContains(t, h.LastError, "57P01")
			require.Len(t, log.with(slog.LevelWarn, "the listening connection broke"), kills)
			again := log.with(slog.LevelWarn, "listening again")
			require.Len(t, again, kills)
			for n, line := range again {
				for key, want := range map[string]time.Time{"from": all[n].From, "to": all[n].To} {
					text, ok := line[key].(string)
					require.True(t, ok, key)
					got, err := time.Parse(time.RFC3339Nano, text)
					require.NoError(t, err)
					require.WithinDuration(t, want, got, 0)
				}
			}
		})
	}
}

func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })

	r := hooks.NewRegistry()
	in := heartbeatInbox(r)
	gaps := newInbox[listener.Gap]()
	c := listener.NewChannel[int]("typed", listener.Broadcast(), listener.In(r))
	values := newInbox[int]()
	c.Listen(values.put)
	log := newTape(t)
	p := pubsub.New(pubsub.WithRegistry(r), pubsub.Logger(log.logger()), pubsub.OnGap(func(_ context.Context, g listener.Gap) { gaps <- g }))
	db := pubsubtest.Open(t, pubsubtest.DSN(server.URL()), pubsubtest.Plugin(p), pubsubtest.Models(&heartbeat{}))
	pubsubtest.Listen(t, db)
	stop := heart(t, db, true)
	comesTrue(t, func() bool { return len(in) > 0 }, "a row arrives")

	before := time.Now()
	if err := server.Restart(t.Context()); errors.Is(err, pgserver.ErrNotOurs) {
		// A server of somebody's: the most that can be done is to end all sessions.
		_ = db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Error
	} else {
		require.NoError(t, err)
	}
	gap := gaps.next(t)
	require.False(t, gap.To.Before(before))
	require.Error(t, gap.Cause)
	require.Equal(t, []string{heartbeatChannel, "typed"}, gap.Channels)
	checkBeats(t, db, in, stop(), []listener.Gap{gap})
	require.NoError(t, c.Notify(t.Context(), db, 7))
	require.Equal(t, 7, values.next(t))
	require.NoError(t, p.Verify(t.Context()))
	require.NoError(t, p.Health().Err())
	require.EqualValues(t, 1, p.Health().Reconnects)
	require.Len(t, log.with(slog.LevelWarn, "listening again"), 1)
	require.Zero(t, counters(t, db, "heartbeats").Failed)
}
