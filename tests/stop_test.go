package tests

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// listenUntil runs Listen until stop is called, which doesn't wait.
func listenUntil(t *testing.T, p *pubsub.Plugin) (stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Listen(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		for range done { // until it has ended
		}
	})
	await(t, p.Ready())
	return cancel, done
}

func TestSoftStop(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"One": nil, "Several": {hooks.Concurrency(3)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const waiting = 20
			r := hooks.NewRegistry()
			entered, release := make(chan struct{}, 100), make(chan struct{})
			onParcel(r, "soft", func(ctx context.Context, tx *gorm.DB, label string) error {
				entered <- struct{}{}
				<-release
				if err := ctx.Err(); err != nil {
					return err
				}
				return tx.Exec("SELECT 1").Error
			}, opts...)
			db, log := taped(t, r, []any{&parcel{}})
			p := pubsubtest.Of(t, db)
			stop, ended := listenUntil(t, p)
			letGo := sync.OnceFunc(func() { close(release) })
			t.Cleanup(letGo)
			create(t, db, "x")
			await(t, entered)
			for n := range waiting {
				create(t, db, strconv.Itoa(n))
			}
			comesTrue(t, func() bool {
				h := counters(t, db, "soft")
				return int64(h.Waiting)+h.Running == waiting+1
			}, "all have arrived")
			stop()
			comesTrue(t, func() bool { // it receives no more
				sessions, err := p.Listeners(t.Context(), "parcels_insert")
				return err == nil && len(sessions) == 0
			}, "the session ends first")
			require.Empty(t, ended, "Listen waits for the functions")
			letGo()
			require.NoError(t, await(t, ended))
			h := counters(t, db, "soft")
			require.EqualValues(t, waiting+1, h.Handled)
			require.Zero(t, h.Failed+h.Dropped+h.Running)
			require.Zero(t, h.Waiting)
			require.Empty(t, log.with(slog.LevelWarn, ""), "a clean stop is quiet")
		})
	}
}

func TestHardStop(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"One": nil, "Several": {hooks.Concurrency(2)}, "Timeout": {hooks.Timeout(time.Hour)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const grace, events = 200 * time.Millisecond, 10
			r := hooks.NewRegistry()
			entered, causes := make(chan struct{}, 100), newInbox[error]()
			onParcel(r, "hard", func(ctx context.Context, _ *gorm.DB, _ string) error {
				entered <- struct{}{}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return ctx.Err()
			}, opts...)
			db, log := taped(t, r, []any{&parcel{}}, pubsub.Grace(grace))
			stop, ended := listenUntil(t, pubsubtest.Of(t, db))
			create(t, db, "x")
			await(t, entered)
			for range events - 1 {
				create(t, db, "x")
			}
			comesTrue(t, func() bool {
				h := counters(t, db, "hard")
				return int64(h.Waiting)+h.Running == events
			}, "all have arrived")
			running := counters(t, db, "hard").Running
			stop()
			at := time.Now()
			require.ErrorContains(t, causes.next(t), "grace period")
			require.GreaterOrEqual(t, time.Since(at), grace-10*time.Millisecond)
			require.NoError(t, await(t, ended))
			h := counters(t, db, "hard")
			require.Equal(t, running, h.Failed)
			require.Equal(t, events-running, h.Dropped, "what nobody got to is counted")
			require.Zero(t, h.Waiting)
			lines := log.with(slog.LevelWarn, "broadcasts were dropped")
			require.Len(t, lines, 1)
			require.EqualValues(t, h.Dropped, lines[0]["dropped"])
		})
	}
}

func TestStillRunning(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	entered, release := make(chan struct{}), make(chan struct{})
	onParcel(r, "stubborn", func(context.Context, *gorm.DB, string) error {
		close(entered)
		<-release
		return nil
	})
	onParcel(r, "willing", newInbox[string]().put)
	gapEntered := make(chan struct{})
	db, _ := taped(t, r, []any{&parcel{}}, pubsub.Grace(time.Millisecond), pubsub.OnGap(func(context.Context, listener.Gap) {
		close(gapEntered)
		<-release
	}))
	stop, ended := listenUntil(t, pubsubtest.Of(t, db))
	t.Cleanup(func() { close(release) })
	create(t, db, "x")
	await(t, entered)
	killListener(t, db, "parcels_insert", map[int]bool{})
	await(t, gapEntered)
	stop()
	err := await(t, ended)
	require.ErrorIs(t, err, listener.ErrStillRunning)
	require.ErrorContains(t, err, "stubborn")
	require.ErrorContains(t, err, "delivery_test.go:")
	require.NotContains(t, err.Error(), "willing")
	assert.ErrorContains(t, err, "OnGap")
}

func TestStopBeforeAndWhileConnecting(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onParcel(r, "p", newInbox[string]().put)
	db, log := taped(t, r, []any{&parcel{}})
	p := pubsubtest.Of(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.Listen(ctx))
	for n := range 30 { // somewhere between the first look and the first event
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(n)*time.Millisecond, cancel)
		require.NoError(t, p.Listen(ctx))
	}
	require.Empty(t, log.with(slog.LevelError, ""))
}

func TestStopDuringAnOutage(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onParcel(r, "p", newInbox[string]().put)
	first := true
	attempts := newInbox[int]()
	var dsn string
	db, _ := taped(t, r, []any{&parcel{}}, pubsub.ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		if !first {
			attempts <- 1
			return nil, errors.New("no")
		}
		first = false
		return dialDSN(ctx, dsn, prepare)
	}))
	dsn = dsnOf(t, db)
	stop, ended := listenUntil(t, pubsubtest.Of(t, db))
	killListener(t, db, "parcels_insert", map[int]bool{})
	attempts.take(t, 2)
	stop()
	require.NoError(t, await(t, ended))
}
