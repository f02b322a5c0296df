package pgserver

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSources(t *testing.T) {
	t.Parallel()

	fake := func(name string, err error, calls *[]string) source {
		return source{name, func(context.Context, *config) (*Server, error) {
			*calls = append(*calls, name)
			if err != nil {
				return nil, err
			}
			return &Server{origin: name}, nil
		}}
	}

	t.Run("DefaultOrder", func(t *testing.T) {
		t.Parallel()
		cfg, err := newConfig(nil)
		require.NoError(t, err)
		var names []string
		for _, s := range cfg.sources {
			names = append(names, s.name)
		}
		require.Equal(t, []string{"DATABASE_URL", "local binaries", "Docker", "a download"}, names)
	})

	t.Run("AbsentOnesArePassedOver", func(t *testing.T) {
		t.Parallel()
		var calls []string
		s, err := Start(t.Context(), from(
			fake("one", absentf("away"), &calls), fake("two", nil, &calls), fake("three", nil, &calls)))
		require.NoError(t, err)
		require.Equal(t, "two", s.Origin())
		require.Equal(t, []string{"one", "two"}, calls)
	})

	t.Run("BrokenOneEndsTheSearch", func(t *testing.T) {
		t.Parallel()
		var calls []string
		broken := errors.New("broken")
		_, err := Start(t.Context(), from(fake("one", broken, &calls), fake("two", nil, &calls)))
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, ErrNoServer)
		require.EqualError(t, err, "start a Postgres from one: broken")
		require.Equal(t, []string{"one"}, calls)
	})

	t.Run("NothingThere", func(t *testing.T) {
		t.Parallel()
		var calls []string
		advise := func(cfg *config) { cfg.advice = "Install it." }
		_, err := Start(t.Context(), advise, from(fake("one", absentf("away\nfar"), &calls), fake("two", absentf("gone"), &calls)))
		require.ErrorIs(t, err, ErrNoServer)
		require.NotContains(t, err.Error(), "DATABASE_URL", "the advice is for the sources that were tried")
		require.ErrorContains(t, err, "tried in this order:\n  one: away\n    far\n  two: gone")
	})

	t.Run("AdviceForTheDefaultOrder", func(t *testing.T) {
		t.Parallel()
		cfg, err := newConfig(nil)
		require.NoError(t, err)
		require.Contains(t, cfg.advice, "apt-get install postgresql")
		require.Contains(t, cfg.advice, "DATABASE_URL")
	})

	t.Run("WrongPGBIN", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "nothing")
		_, err := Start(t.Context(), from(localSource, downloadSource), environmentOf(map[string]string{"PGBIN": dir}))
		require.ErrorContains(t, err, "$PGBIN is "+dir)
		require.NotErrorIs(t, err, ErrNoServer)
	})

	t.Run("WrongOptions", func(t *testing.T) {
		t.Parallel()
		for _, opts := range [][]Option{
			{DSN("")}, {Setting("port", "1")}, {Setting("", "1")}, {Setting("a=b", "1")}, {DSN("host=x"), Docker("")},
		} {
			_, err := Start(t.Context(), opts...)
			require.Error(t, err)
		}
	})
}

func TestGivenServer(t *testing.T) {
	t.Parallel()
	ours, _ := startIn(t)
	use := func(opts ...Option) (*Server, error) { return Start(t.Context(), opts...) }

	t.Run("Used", func(t *testing.T) {
		t.Parallel()
		for _, opt := range []Option{
			DSN(ours.URL()),
			environmentOf(map[string]string{"DATABASE_URL": ours.URL()}),
		} {
			s, err := use(opt)
			require.NoError(t, err)
			require.Equal(t, ours.URL(), s.URL())
			url, drop, err := s.CreateDatabase(t.Context())
			require.NoError(t, err)
			require.NoError(t, answers(t.Context(), url))
			require.ErrorIs(t, s.Restart(t.Context()), ErrNotOurs)
			require.NoError(t, s.Stop())
			require.NoError(t, answers(t.Context(), url), "Stop leaves it alone")
			require.NoError(t, drop(t.Context()), "dropped after Stop, too")
			require.Error(t, answers(t.Context(), url))
		}
	})

	t.Run("Settings", func(t *testing.T) {
		t.Parallel()
		_, err := use(DSN(ours.URL()), Setting("max_connections", "200"))
		require.NoError(t, err, "it has the value")
		_, err = use(DSN(ours.URL()), Setting("max_connections", "201"))
		require.ErrorContains(t, err, "max_connections=201")
		_, err = use(DSN(ours.URL()), Setting("no_such_thing", "1"))
		require.ErrorContains(t, err, "no_such_thing=1")
	})

	t.Run("Unreachable", func(t *testing.T) {
		t.Parallel()
		const password = "hunter2"
		at := func(dsn string) Option { return environmentOf(map[string]string{"DATABASE_URL": dsn}) }
		for _, dsn := range []string{
			"postgres://me:" + password + "@127.0.0.1:1/db?connect_timeout=5",
			"host=127.0.0.1 port=1 user=me password=" + password,
			"postgres://me:" + password + "@127.0.0.1:port/db",
			"postgres://me:" + password + "/x@127.0.0.1/db",
			"password=" + password + " nonsense",
			"postgres://me:" + password + "@/db?host=" + url.QueryEscape("/nowhere"),
		} {
			_, err := use(at(dsn))
			require.ErrorContains(t, err, "DATABASE_URL")
			require.NotErrorIs(t, err, ErrNoServer, "it isn't passed over")
			require.NotContains(t, err.Error(), password)
		}
	})
}
