package tests

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// dialDSN is how ListenDial is meant to be used.
func dialDSN(ctx context.Context, dsn string, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	prepare(config)
	return pgx.ConnectConfig(ctx, config)
}

func TestOutage(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r))
	in := newInbox[string]()
	c.Listen(in.put, listener.Name("news"))
	gaps := newInbox[listener.Gap]()
	var dsn string
	var down atomic.Bool
	refused := make(chan struct{}, 1000)
	db, log := taped(t, r, nil,
		pubsub.OnGap(func(_ context.Context, g listener.Gap) { gaps <- g }),
		pubsub.ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			if down.Load() {
				refused <- struct{}{}
				return nil, errors.New("the network is down")
			}
			return dialDSN(ctx, dsn, prepare)
		}))
	dsn = dsnOf(t, db)
	p := pubsubtest.Of(t, db)
	require.NoError(t, p.Migrate(t.Context()))
	require.Error(t, p.Health().Err(), "it hasn't begun to listen")
	require.Zero(t, p.Health().Since)
	stop := pubsubtest.Listen(t, db)
	require.NoError(t, p.Health().Err())
	require.NoError(t, p.Health().LastError)
	require.NotZero(t, p.Health().Since)

	down.Store(true)
	at := killListener(t, db, "news", map[int]bool{})
	for range 3 {
		await(t, refused)
	}
	h := p.Health()
	require.False(t, h.Listening)
	require.ErrorContains(t, h.Err(), "not listening since "+h.Since.Format(time.RFC3339))
	require.ErrorContains(t, h.Err(), "the network is down")
	require.Zero(t, h.Reconnects)
	require.NoError(t, c.Notify(t.Context(), db, "missed"))
	down.Store(false)
	gap := gaps.next(t)
	require.NoError(t, c.Notify(t.Context(), db, "heard"))
	require.Equal(t, "heard", in.next(t))

	var cause *pgconn.PgError
	require.ErrorAs(t, gap.Cause, &cause, "the gap's cause is what broke the connection")
	require.True(t, gap.From.Before(at) && gap.To.After(at))
	require.Len(t, log.with(slog.LevelWarn, "no new listening connection yet"), 1, "the same trouble is told once")
	h = p.Health()
	require.NoError(t, h.Err())
	require.EqualValues(t, 1, h.Reconnects)
	stop()
	require.Error(t, p.Health().Err())
	require.ErrorAs(t, h.LastError, &cause, "LastError is why the last connection broke")
}

func TestOnGapDisturbsNobody(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r))
	in := newInbox[string]()
	c.Listen(in.put)
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	var calls atomic.Int64
	db, log := taped(t, r, nil, pubsub.OnGap(func(context.Context, listener.Gap) {
		entered <- struct{}{}
		if calls.Add(1) == 1 {
			panic("the cache is gone")
		}
		<-release
	}))
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	t.Cleanup(func() { close(release) })
	killed := map[int]bool{}
	for n := range 3 { // one panics, two block
		killListener(t, db, "news", killed)
		await(t, entered)
		require.NoError(t, c.Notify(t.Context(), db, "after "+strconv.Itoa(n)))
		require.Equal(t, "after "+strconv.Itoa(n), in.next(t))
	}
	panics := log.with(slog.LevelError, "OnGap panicked")
	require.Len(t, panics, 1)
	require.Contains(t, panics[0]["stack"], "TestOnGapDisturbsNobody")
}
