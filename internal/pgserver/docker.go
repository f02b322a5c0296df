package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

//go:embed supervise_container.sh
var superviseContainerScript string

const (
	pingLimit = 5 * time.Second  // the engine's answer to a ping
	pullLimit = 10 * time.Minute // the pull of an image

	containerPort = docker.Port("5432/tcp")
)

var dockerSource = source{"Docker", func(ctx context.Context, cfg *config) (*Server, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, absentf("%v", err)
	}
	client := pool.Client
	// Pool.Retry would try for a minute; a ping tells at once that no engine runs.
	pingCtx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	if err := client.PingWithContext(pingCtx); err != nil {
		return nil, absentf("no engine answers at %s: %v", client.Endpoint(), err)
	}
	image := "postgres:" + cfg.tag
	if err := pull(ctx, client, cfg.tag); err != nil {
		return nil, absentf("the image %s can't be had: %v", image, err)
	}
	ctx, cancel = context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := newContainer(ctx, client, image, cfg.parameters())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image, err)
	}
	return &Server{url: c.url, origin: "Docker " + image, instance: c}, nil
}}

func pull(ctx context.Context, client *docker.Client, tag string) error {
	if _, err := client.InspectImage("postgres:" + tag); !errors.Is(err, docker.ErrNoSuchImage) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	opts := docker.PullImageOptions{Repository: "postgres", Tag: tag, OutputStream: io.Discard, Context: ctx}
	return client.PullImage(opts, docker.AuthConfiguration{})
}

// container is a Postgres in Docker. Its first process ends when its standard input
// does, and that is a connection that ends with this process: the engine then removes
// the container. Only a process that is killed between the container's creation and
// its start, some milliseconds, leaves one, which never ran. (dockertest's
// Resource.Expire can't do that: it asks the engine to stop the container at once, and
// its number of seconds is the time until the engine kills what hasn't stopped.)
type container struct {
	supervised
	client *docker.Client
	id     string
}

func newContainer(ctx context.Context, client *docker.Client, image string, parameters []string) (*container, error) {
	defer client.HTTPClient.CloseIdleConnections()
	password := rand.Text()
	bind, host := published(client.Endpoint())
	created, err := client.CreateContainer(docker.CreateContainerOptions{
		Config: &docker.Config{
			Image: image,
			Env: []string{
				"POSTGRES_PASSWORD=" + password,
				"POSTGRES_INITDB_ARGS=--no-sync --encoding=UTF8 --locale=C",
				"TZ=UTC",
			},
			Entrypoint:   []string{"/bin/sh", "-c", superviseScript + superviseContainerScript, "pgserver"},
			Cmd:          parameters,
			ExposedPorts: map[docker.Port]struct{}{containerPort: {}},
			OpenStdin:    true,
			StdinOnce:    true,
			AttachStdin:  true,
			AttachStdout: true,
		},
		HostConfig: &docker.HostConfig{
			AutoRemove:   true,
			PortBindings: map[docker.Port][]docker.PortBinding{containerPort: {{HostIP: bind}}},
		},
		Context: ctx,
	})
	if err != nil {
		return nil, err
	}
	c := &container{client: client, id: created.ID}
	c.log = c.readLog
	if err := c.begin(ctx, host, password); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// published says where the container's port is bound and how it is reached from
// here: this machine's loopback, except that a remote engine can't bind that.
func published(endpoint string) (bind, host string) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.Scheme == "unix" || u.Scheme == "npipe" {
		return "127.0.0.1", "127.0.0.1"
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return "127.0.0.1", "127.0.0.1"
	}
	return "", u.Hostname()
}

func (c *container) begin(ctx context.Context, host, password string) error {
	// Before the start, so that there is no moment in which it runs and nothing holds it.
	stream, err := attach(c.client, c.id)
	if err != nil {
		return fmt.Errorf("attach to the container: %w", err)
	}
	c.in, c.status = stream.conn, newStatus(stream.conn, stream)
	if err := c.client.StartContainerWithContext(c.id, nil, ctx); err != nil {
		return err
	}
	info, err := c.client.InspectContainerWithContext(c.id, ctx)
	if err != nil {
		return err
	}
	bindings := info.NetworkSettings.Ports[containerPort]
	if len(bindings) == 0 {
		return errors.New("the engine published no port")
	}
	c.url = (&url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password),
		Host: net.JoinHostPort(host, bindings[0].HostPort), Path: "/postgres", RawQuery: "sslmode=disable",
	}).String()
	return c.started(ctx)
}

func (c *container) readLog() string {
	ctx, cancel := context.WithTimeout(context.Background(), pingLimit)
	defer cancel()
	var log bytes.Buffer
	_ = c.client.Logs(docker.LogsOptions{Context: ctx, Container: c.id, ErrorStream: &log, OutputStream: io.Discard, Stderr: true, Tail: "20"})
	return log.String()
}

// stop removes the container and waits until the engine has forgotten it.
func (c *container) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	defer c.client.HTTPClient.CloseIdleConnections()
	if c.in != nil {
		_ = c.in.Close()
	}
	// Fails when the engine already removes it by itself; the loop sees the outcome.
	failure := c.client.RemoveContainer(docker.RemoveContainerOptions{ID: c.id, RemoveVolumes: true, Force: true, Context: ctx})
	for {
		_, err := c.client.InspectContainerWithContext(c.id, ctx)
		var gone *docker.NoSuchContainer
		if errors.As(err, &gone) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the container %s is still there", c.id), failure, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
