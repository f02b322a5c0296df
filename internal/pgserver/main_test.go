package pgserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// childVariable makes the test binary a process that starts a server and waits to be
// killed.
const childVariable = "PGSERVER_TEST_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(childVariable); kind != "" {
		child(kind)
	}
	goleak.VerifyTestMain(m)
}

func child(kind string) {
	opts := []Option{from(binarySources...)}
	if kind == "docker" {
		opts = []Option{Docker("")}
	} else {
		opts = append(opts, in(kind))
	}
	s, err := Start(context.Background(), opts...)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	select {} // until it is killed
}

// startChild runs the test binary as a child and returns it with its output.
func startChild(t *testing.T, kind string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) // killed by the test
	cmd.Env = append(os.Environ(), childVariable+"="+kind)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

// binarySources are those that end in a server of this machine's own binaries, never
// in the one of DATABASE_URL.
var binarySources = []source{localSource, downloadSource}

func from(sources ...source) Option {
	return func(cfg *config) { cfg.sources = sources }
}

// in has the server's folder made in dir.
func in(dir string) Option {
	return func(cfg *config) { cfg.tempDirs = func() []string { return []string{dir} } }
}

func environmentOf(values map[string]string) Option {
	return func(cfg *config) { cfg.getenv = func(name string) string { return values[name] } }
}

// folder is an empty folder that the server's user can write to, on a short path.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(append(memoryDirs(), "/tmp")[0], "pst")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// startIn starts a server whose folder is in the returned one.
func startIn(t *testing.T, opts ...Option) (*Server, string) {
	t.Helper()
	dir := folder(t)
	s, err := Start(t.Context(), append([]Option{from(binarySources...), in(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s, dir
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func scan[T any](t *testing.T, url, query string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, connect(t, url).QueryRow(t.Context(), query, args...).Scan(&value))
	return value
}

// requireNothingLeft waits until dir is empty and no process's command line names it.
func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		return err == nil && len(files) == 0 && len(processes(t, dir)) == 0
	}, 20*time.Second, 20*time.Millisecond, "folder or processes left in %s", dir)
}

// processes are the command lines that hold text.
func processes(t *testing.T, text string) []string {
	t.Helper()
	var lines []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil {
			lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if len(files) == 0 { // no Linux
		out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "command=").Output()
		require.NoError(t, err)
		lines = strings.Split(string(out), "\n")
	}
	var found []string
	for _, line := range lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
