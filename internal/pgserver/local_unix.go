//go:build unix

package pgserver

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed supervise_local.sh
var superviseLocalScript string

// local is a Postgres that runs from binaries of this machine.
type local struct {
	supervised
	cmd *exec.Cmd // the supervising shell
	dir string    // data, log and socket
}

// usable reports whether the binaries in dir can be run.
func usable(ctx context.Context, dir string) error {
	if err := hasBinaries(dir); err != nil {
		return err
	}
	attr, name, err := attributes()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version") //nolint:gosec // the point of it
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", environment(), attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s can't run postgres: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return checkVersion(string(out))
}

// run starts a server from the binaries in bin.
func run(ctx context.Context, cfg *config, bin, origin string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	l, err := launch(cfg, bin)
	if err != nil {
		return nil, err
	}
	if err := l.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", bin, err), l.stop())
	}
	return &Server{url: l.url, origin: origin, instance: l}, nil
}

// launch starts the supervising shell.
func launch(cfg *config, bin string) (*local, error) {
	attr, _, err := attributes()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("pubsub-pg-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8]))
	bases := fitting(cfg.tempDirs(), name)
	args := append([]string{"-c", superviseScript + superviseLocalScript, "pgserver", bin, name, strconv.Itoa(len(bases))}, bases...)
	args = append(args, "-c", "listen_addresses=", "-c", "port=5432")
	args = append(args, cfg.parameters()...)

	shellIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer shellIn.Close()
	out, shellOut, err := os.Pipe()
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	defer shellOut.Close()

	// Files for all three, so that no goroutine copies anything. No CommandContext:
	// the shell outlives the caller's context.
	cmd := exec.Command("/bin/sh", args...) //nolint:gosec // the point of it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = shellIn, shellOut, shellOut
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", environment(), attr
	if err := cmd.Start(); err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, err
	}
	l := &local{cmd: cmd}
	l.in, l.status, l.log = in, newStatus(out, out), l.readLog
	return l, nil
}

// environment is what the binaries get of this process's environment: none of
// Postgres's own variables, and neither its locale nor its time zone.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (l *local) begin(ctx context.Context) error {
	dir, err := l.await(ctx, "dir ")
	if err != nil {
		return err
	}
	l.dir = dir
	l.url = (&url.URL{
		Scheme: "postgres", User: url.User("postgres"), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "port": {"5432"}, "sslmode": {"disable"}}.Encode(),
	}).String()
	return l.started(ctx)
}

func (l *local) readLog() string {
	if l.dir == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(l.dir, "log"))
	if err != nil {
		return ""
	}
	return string(text)
}

// stop tells the shell to end, and does its work when it is gone.
func (l *local) stop() error {
	defer l.status.file.Close()
	_, gone := io.WriteString(l.in, "stop\n") // EPIPE when somebody killed the shell
	_ = l.in.Close()
	for until := time.Now().Add(25 * time.Second); gone == nil; {
		_, err := l.status.next(time.Until(until))
		if errors.Is(err, io.EOF) {
			break
		}
		gone = err
	}
	if gone != nil {
		_ = l.cmd.Process.Kill()
	}
	_ = l.cmd.Wait() // its exit code says nothing; the folder does
	if l.dir == "" {
		return nil
	}
	if gone != nil {
		l.killPostgres()
	}
	return os.RemoveAll(l.dir)
}

// killPostgres ends a Postgres whose shell is gone.
func (l *local) killPostgres() {
	text, err := os.ReadFile(filepath.Join(l.dir, "data", "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return
	}
	for tries := range 250 {
		signal := syscall.SIGQUIT
		if tries > 150 {
			signal = syscall.SIGKILL
		}
		if syscall.Kill(pid, signal) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
