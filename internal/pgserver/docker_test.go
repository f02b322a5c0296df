package pgserver

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
	"github.com/stretchr/testify/require"
)

// requireDocker skips a test when no engine answers, unless PUBSUB_REQUIRE_DOCKER is
// set.
func requireDocker(t *testing.T) *docker.Client {
	t.Helper()
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.Ping()
	}
	if err != nil && os.Getenv("PUBSUB_REQUIRE_DOCKER") == "" {
		t.Skipf("needs a Docker engine, and none answers a ping (PUBSUB_REQUIRE_DOCKER=1 makes this a failure): %v", err)
	}
	require.NoError(t, err)
	return pool.Client
}

func TestDocker(t *testing.T) {
	t.Parallel()
	client := requireDocker(t)

	t.Run("RestartAndStop", func(t *testing.T) {
		t.Parallel()
		s, err := Start(t.Context(), Docker(""), Setting("max_connections", "42"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Stop()) })
		require.Equal(t, "Docker postgres:17", s.Origin())
		require.Equal(t, "42", scan[string](t, s.URL(), "show max_connections"))
		require.Equal(t, "C", scan[string](t, s.URL(), "select datcollate from pg_database where datname = 'postgres'"))

		database, drop, err := s.CreateDatabase(t.Context())
		require.NoError(t, err)
		_, err = connect(t, database).Exec(t.Context(), "create table kept as select 42 as n")
		require.NoError(t, err)
		before := scan[time.Time](t, s.URL(), "select pg_postmaster_start_time()")
		require.NoError(t, s.Restart(t.Context()))
		require.Equal(t, 42, scan[int](t, database, "select n from kept"))
		require.Greater(t, scan[time.Time](t, s.URL(), "select pg_postmaster_start_time()"), before)
		require.NoError(t, drop(t.Context()))

		c, ok := s.instance.(*container)
		require.True(t, ok)
		require.NoError(t, s.Stop())
		require.True(t, gone(client, c.id))
	})

	t.Run("BadSettingShowsTheLog", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Docker(""), Setting("max_connections", "plenty"))
		require.ErrorContains(t, err, `invalid value for parameter "max_connections": "plenty"`)
		require.NotErrorIs(t, err, ErrNoServer)
	})

	t.Run("NoSuchImage", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Docker("no-such-tag"))
		require.ErrorIs(t, err, ErrNoServer)
		require.ErrorContains(t, err, "postgres:no-such-tag")
	})

	t.Run("KilledProcess", func(t *testing.T) {
		t.Parallel()
		cmd, out := startChild(t, "docker")
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		url := strings.TrimSpace(line)
		require.NoError(t, answers(t.Context(), url))
		id := containerAt(t, client, url)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		require.Eventually(t, func() bool { return gone(client, id) }, 20*time.Second, 50*time.Millisecond)
	})
}

// containerAt finds the container that publishes the port of url.
func containerAt(t *testing.T, client *docker.Client, url string) string {
	t.Helper()
	port := connect(t, url).Config().Port
	containers, err := client.ListContainers(docker.ListContainersOptions{})
	require.NoError(t, err)
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.PublicPort == int64(port) {
				return c.ID
			}
		}
	}
	require.Fail(t, "no container", "at port %d", port)
	return ""
}

func gone(client *docker.Client, id string) bool {
	_, err := client.InspectContainer(id)
	var missing *docker.NoSuchContainer
	return errors.As(err, &missing)
}

func TestPublished(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string][2]string{
		"unix:///var/run/docker.sock":    {"127.0.0.1", "127.0.0.1"},
		"npipe:////./pipe/docker_engine": {"127.0.0.1", "127.0.0.1"},
		"tcp://127.0.0.1:2375":           {"127.0.0.1", "127.0.0.1"},
		"http://localhost:2375":          {"127.0.0.1", "127.0.0.1"},
		"tcp://docker:2376":              {"", "docker"},
	} {
		bind, host := published(endpoint)
		require.Equal(t, want, [2]string{bind, host}, endpoint)
	}
}
