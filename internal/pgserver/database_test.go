package pgserver

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestCreateDatabase(t *testing.T) {
	t.Parallel()
	s, err := Shared(t.Context())
	require.NoError(t, err)

	t.Run("Fresh", func(t *testing.T) {
		t.Parallel()
		var names sync.Map
		var wait sync.WaitGroup
		for range 5 {
			wait.Go(func() {
				url, drop, err := s.CreateDatabase(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				name := scan[string](t, url, "select current_database()")
				_, seen := names.LoadOrStore(name, true)
				if seen {
					t.Errorf("%s twice", name)
				}
				if n := scan[int](t, url, "select count(*) from pg_class where relnamespace = 'public'::regnamespace"); n != 0 {
					t.Errorf("%d relations", n)
				}
				if err := drop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	})

	t.Run("DropEndsSessions", func(t *testing.T) {
		t.Parallel()
		url, drop, err := s.CreateDatabase(t.Context())
		require.NoError(t, err)
		conn := connect(t, url)
		require.NoError(t, drop(t.Context()))
		require.Error(t, conn.Ping(t.Context()))
		require.Error(t, answers(t.Context(), url))
		require.NoError(t, drop(t.Context()), "again")
	})

	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := s.CreateDatabase(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:p%40ss@db.example:6543/main?sslmode=require&application_name=a",
		"postgresql://u:p%40ss@db.example:6543?sslmode=require&application_name=a",
		"postgres://u:p%40ss@db.example:6543/main?dbname=main&sslmode=require&application_name=a",
		"postgres://u:p%40ss@/main?host=db.example&port=6543&sslmode=require&application_name=a",
		"host=db.example port=6543 user=u password=p@ss dbname=main sslmode=require application_name=a",
		"host=db.example port=6543 user=u password='p@ss' sslmode=require application_name='a'",
	} {
		t.Run(dsn, func(t *testing.T) {
			t.Parallel()
			cfg, err := pgx.ParseConfig(withDatabase(dsn, "pubsub_x"))
			require.NoError(t, err)
			require.Equal(t, "pubsub_x", cfg.Database)
			require.Equal(t, "db.example", cfg.Host)
			require.EqualValues(t, 6543, cfg.Port)
			require.Equal(t, "p@ss", cfg.Password)
			require.Equal(t, "a", cfg.RuntimeParams["application_name"])
			require.NotNil(t, cfg.TLSConfig)
		})
	}
}
