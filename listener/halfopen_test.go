package listener_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/listener"
)

func nothing(context.Context, *gorm.DB, string) error { return nil }

// The time in these tests is that of a synctest bubble: sleeping moves a fake
// clock, and waits for nothing.

// A connection whose other end has vanished is found within 40 seconds.
func TestHalfOpenConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		idle time.Duration // before the connection dies
		last bool          // a notification is the last that comes
	}{
		"AtOnce": {}, "BeforeAPing": {15*time.Second - 1, false}, "AfterAPing": {15*time.Second + 1, false},
		"LongIdle": {time.Hour, false}, "AfterANotification": {1, true}, "AfterALateNotification": {14 * time.Second, true},
		"LongIdleThenANotification": {time.Hour + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, nothing, func(t *testing.T, m *memory, l *listener.Listener, gaps chan listener.Gap, _ func() error) {
				t.Helper()
				time.Sleep(c.idle)
				require.NoError(t, l.Health().Err())
				if c.last {
					m.last().notify("news", `"hello"`)
					synctest.Wait()
					require.EqualValues(t, 1, l.Health().Subscriptions[0].Handled)
				}
				first := m.last()
				first.freeze()
				at := time.Now()
				for l.Health().Err() == nil && l.Health().Reconnects == 0 {
					require.LessOrEqual(t, time.Since(at), 40*time.Second, "found dead within 40 seconds")
					time.Sleep(time.Millisecond)
				}
				gap := <-gaps
				require.LessOrEqual(t, time.Since(at), 41*time.Second)
				require.NotSame(t, first, m.last())
				require.False(t, gap.From.After(at), "the gap holds everything since the last sign of life")
				require.LessOrEqual(t, at.Sub(gap.From), 16*time.Second, "and not much more")
				require.False(t, gap.To.Before(at))
				require.ErrorContains(t, gap.Cause, "no sign of life")
				require.NoError(t, l.Health().Err())
				require.EqualValues(t, 1, l.Health().Reconnects)

				handled := l.Health().Subscriptions[0].Handled
				m.last().notify("news", `"again"`)
				synctest.Wait()
				require.Equal(t, handled+1, l.Health().Subscriptions[0].Handled)
			})
		})
	}
}

func TestIdleConnectionIsKept(t *testing.T) {
	t.Parallel()
	inMemory(t, nothing, func(t *testing.T, m *memory, l *listener.Listener, _ chan listener.Gap, _ func() error) {
		t.Helper()
		time.Sleep(24 * time.Hour)
		require.NoError(t, l.Health().Err())
		require.Zero(t, l.Health().Reconnects)
		b := m.last()
		b.mu.Lock()
		defer b.mu.Unlock()
		require.InDelta(t, 24*60*4, b.pings, 1, "a ping each 15 seconds")
	})
}

func TestReconnectsBackOff(t *testing.T) {
	t.Parallel()
	inMemory(t, nothing, func(t *testing.T, m *memory, l *listener.Listener, gaps chan listener.Gap, stop func() error) {
		t.Helper()
		m.refuseWith(func(context.Context) error { return errors.New("refused") })
		m.last().freeze()
		time.Sleep(time.Hour)
		m.mu.Lock()
		attempts := m.attempts
		m.mu.Unlock()
		require.Error(t, l.Health().Err())
		limit := 100 * time.Millisecond
		for n := 1; n < len(attempts); n++ {
			pause := attempts[n].Sub(attempts[n-1])
			require.GreaterOrEqual(t, pause, limit/2)
			require.LessOrEqual(t, pause, limit)
			limit = min(2*limit, 10*time.Second)
		}
		require.Greater(t, len(attempts), 300)

		// An attempt that hangs is given up.
		m.refuseWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		time.Sleep(10 * time.Minute)
		m.mu.Lock()
		attempts = m.attempts
		m.mu.Unlock()
		require.Greater(t, len(attempts), 10)

		m.refuseWith(nil)
		<-gaps
		require.NoError(t, l.Health().Err())

		// An outage ends nothing but itself, and a stop in it is clean.
		m.refuseWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		m.last().freeze()
		time.Sleep(time.Minute)
		at := time.Now()
		require.NoError(t, stop())
		require.Zero(t, time.Since(at))
	})
}

func TestGraceByDefault(t *testing.T) {
	t.Parallel()
	var took time.Duration
	var cause error
	obedient := func(ctx context.Context, _ *gorm.DB, _ string) error {
		at := time.Now()
		<-ctx.Done()
		took, cause = time.Since(at), context.Cause(ctx)
		return nil
	}
	inMemory(t, obedient, func(t *testing.T, m *memory, _ *listener.Listener, _ chan listener.Gap, stop func() error) {
		t.Helper()
		m.last().notify("news", `"x"`)
		synctest.Wait()
		require.NoError(t, stop())
		require.Equal(t, 10*time.Second, took)
		require.ErrorContains(t, cause, "grace period")
	})
}
