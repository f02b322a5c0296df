package pgserver

import (
	"context"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServer(t *testing.T) {
	t.Parallel()

	t.Run("StopLeavesNothing", func(t *testing.T) {
		t.Parallel()
		s, dir := startIn(t)
		require.NotEmpty(t, processes(t, dir), "the check finds a running server")
		require.NotEmpty(t, s.Origin())
		_, drop, err := s.CreateDatabase(t.Context())
		require.NoError(t, err)

		require.NoError(t, s.Stop())
		require.Empty(t, processes(t, dir))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)

		require.NoError(t, s.Stop(), "again")
		require.NoError(t, drop(t.Context()), "the database is gone with the server")
		require.ErrorIs(t, s.Restart(t.Context()), ErrStopped)
		_, _, err = s.CreateDatabase(t.Context())
		require.ErrorIs(t, err, ErrStopped)
	})

	t.Run("LivesOnWhenDropped", func(t *testing.T) {
		t.Parallel()
		url := func() string {
			s, err := Start(t.Context(), from(binarySources...), in(folder(t)))
			require.NoError(t, err)
			return s.URL()
		}()
		for range 3 { // a first collection runs cleanups, a second one frees
			runtime.GC()
		}
		require.NoError(t, answers(t.Context(), url))
		live.Range(func(key, _ any) bool {
			if s, ok := key.(*Server); ok && s.URL() == url {
				require.NoError(t, s.Stop())
			}
			return true
		})
		require.Error(t, answers(t.Context(), url))
	})

	t.Run("ContextOfStartDoesNotEndIt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		s, err := Start(ctx, from(binarySources...), in(folder(t)))
		require.NoError(t, err)
		cancel()
		require.NoError(t, answers(t.Context(), s.URL()))
		require.NoError(t, s.Stop())
	})

	t.Run("CancelledStartLeavesNothing", func(t *testing.T) {
		t.Parallel()
		dir := folder(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := Start(ctx, from(binarySources...), in(dir))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		requireNothingLeft(t, dir)
	})

	t.Run("Settings", func(t *testing.T) {
		t.Parallel()
		s, _ := startIn(t, Setting("wal_level", "logical"), Setting("max_connections", "17"), Setting("max_connections", "18"))
		show := func(name string) string { return scan[string](t, s.URL(), "select current_setting($1)", name) }
		require.Equal(t, "logical", show("wal_level"))
		require.Equal(t, "18", show("max_connections"))
		require.Equal(t, "20", show("max_prepared_transactions"))
		require.Equal(t, "off", show("fsync"))
		require.Equal(t, "on", show("synchronous_commit"))
		require.Equal(t, "UTF8", show("server_encoding"))
		require.Equal(t, "UTC", show("TimeZone"))
	})

	t.Run("BadSettingShowsTheLog", func(t *testing.T) {
		t.Parallel()
		dir, begin := folder(t), time.Now()
		_, err := Start(t.Context(), from(binarySources...), in(dir), Setting("max_connections", "plenty"))
		require.ErrorContains(t, err, "exited with code")
		require.ErrorContains(t, err, `invalid value for parameter "max_connections": "plenty"`)
		require.NotErrorIs(t, err, ErrNoServer)
		require.Less(t, time.Since(begin), 20*time.Second, "no time-out was needed")
		requireNothingLeft(t, dir)
	})

	t.Run("NoFolder", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), from(binarySources...), in("/nowhere"))
		require.ErrorContains(t, err, "making a temporary folder failed")
		require.ErrorContains(t, err, "/nowhere")
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s, dir := startIn(t)
	database, _, err := s.CreateDatabase(t.Context())
	require.NoError(t, err)
	_, err = connect(t, database).Exec(t.Context(), "create table kept as select 42 as n")
	require.NoError(t, err)
	url := s.URL()
	before := scan[time.Time](t, url, "select pg_postmaster_start_time()")

	for range 2 {
		require.NoError(t, s.Restart(t.Context()))
		require.Equal(t, url, s.URL())
		require.Equal(t, 42, scan[int](t, database, "select n from kept"))
		after := scan[time.Time](t, url, "select pg_postmaster_start_time()")
		require.Greater(t, after, before)
		before = after
	}
	require.NoError(t, s.Stop())
	requireNothingLeft(t, dir)
}

func TestShared(t *testing.T) {
	t.Parallel()
	const callers = 20
	servers := make([]*Server, callers)
	errs := make([]error, callers)
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() { servers[i], errs[i] = Shared(t.Context()) })
	}
	wait.Wait()
	for i := range callers {
		require.NoError(t, errs[i])
		require.Same(t, servers[0], servers[i])
	}
	require.NoError(t, answers(t.Context(), servers[0].URL()))
}
