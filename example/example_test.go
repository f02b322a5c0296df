package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
)

// binary is the built example.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pubsub-example-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "example")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the example: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// limit is how long a process may take for anything.
const limit = 30 * time.Second

// process is a running example.
type process struct {
	cmd    *exec.Cmd
	lines  chan string // of the standard output
	exited chan struct{}
	mu     sync.Mutex
	out    strings.Builder
	err    bytes.Buffer // complete when exited is closed
}

// start runs the example; databaseURL may be empty.
func start(t *testing.T, databaseURL string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), lines: make(chan string, 1000), exited: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DATABASE_URL=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	if databaseURL != "" {
		p.cmd.Env = append(p.cmd.Env, "DATABASE_URL="+databaseURL)
	}
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = &p.err
	require.NoError(t, p.cmd.Start())
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.mu.Lock()
			p.out.WriteString(scanner.Text() + "\n")
			p.mu.Unlock()
			p.lines <- scanner.Text()
		}
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	return p
}

// await returns the first line from now on that has the text.
func (p *process) await(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case line := <-p.lines:
			if strings.Contains(line, text) {
				return line
			}
			continue
		default:
		}
		select {
		case line := <-p.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-p.exited:
			if len(p.lines) == 0 {
				require.FailNow(t, "the process has ended", "without saying %q:\n%s%s", text, p.output(), p.err.String())
			}
		case <-timeout:
			require.FailNow(t, "the process says nothing more", "no %q in:\n%s", text, p.output())
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// status waits for the end and returns the exit status, the output and the errors.
func (p *process) status(t *testing.T) (status int, out, problems string) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		require.FailNow(t, "the process goes on", "%s", p.output())
	}
	return p.cmd.ProcessState.ExitCode(), p.output(), p.err.String()
}

func run(t *testing.T, databaseURL string, args ...string) (status int, out, problems string) {
	t.Helper()
	return start(t, databaseURL, args...).status(t)
}

// database returns the address of a new database.
func database(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	url, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, drop(ctx))
	})
	return url
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement)
	require.NoError(t, err, statement)
}

// leftovers are the folders and processes of the Postgres that the process started.
func leftovers(t *testing.T, p *process) []string {
	t.Helper()
	name := fmt.Sprintf("pubsub-pg-%d-", p.cmd.Process.Pid)
	var found []string
	for _, dir := range []string{"/dev/shm", "/tmp", os.TempDir()} {
		folders, err := filepath.Glob(filepath.Join(dir, name+"*"))
		require.NoError(t, err)
		found = append(found, folders...)
	}
	out, err := exec.Command("ps", "-A", "-ww", "-o", "command=").Output()
	if errors.Is(err, exec.ErrNotFound) { // no procps here
		files, globErr := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, globErr)
		require.NotEmpty(t, files, "neither ps nor /proc tells the processes")
		for _, file := range files {
			line, _ := os.ReadFile(file)
			out = append(append(out, bytes.ReplaceAll(line, []byte{0}, []byte{' '})...), '\n')
		}
	} else {
		require.NoError(t, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, name) {
			found = append(found, line)
		}
	}
	return found
}

// requireStories checks what a plain run prints.
func requireStories(t *testing.T, out string) {
	t.Helper()
	today := time.Now().Format(time.DateOnly)
	for _, text := range []string{
		"Postgres: ", "Listening: ",
		"\n1. ", "post_reads_per_date: post 12: 1 on ", "post_reads_per_date: post 12: 2 on ", "post_reads_per_date: post 7: 1 on ",
		"\n2. ",
		`in the table: Paul's "Welcome! This is your first post"`, "in the table: Ada's ", "in the table: Grace's ",
		"\n3. ", `"username":"jane"`, `"email":"jane@example.org"`,
		", 0 failed.",
	} {
		require.Contains(t, out, text)
	}
	if time.Now().Format(time.DateOnly) == today { // no midnight in between
		require.Contains(t, out, "post 12: 2 on "+today)
	}
	require.NotContains(t, out, "post 12: 3", "what is rolled back is not sent")
}

func TestPlainRun(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := start(t, "")
	status, out, problems := p.status(t)
	require.Zero(t, status, "%s%s", out, problems)
	require.Empty(t, problems)
	requireStories(t, out)
	require.Contains(t, out, "Listening: author_insert, post_reads_per_date, user_details")
	require.Contains(t, out, "Done: 8 events handled, 0 failed.")
	for _, name := range []string{"Paul", "Ada", "Grace"} {
		require.Equal(t, 1, strings.Count(out, "creating the first post of "+name))
	}
	require.Less(t, time.Since(began), 20*time.Second)
	require.Empty(t, leftovers(t, p))
}

func TestPlainRunOnAGivenDatabase(t *testing.T) {
	t.Parallel()
	url := database(t)
	for range 2 { // the second one finds the tables and the first one's rows
		status, out, problems := run(t, url)
		require.Zero(t, status, "%s%s", out, problems)
		requireStories(t, out)
	}
	conn := connect(t, url)
	var posts, authors int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT author_id) FROM example.posts").Scan(&posts, &authors))
	require.Equal(t, 6, posts)
	require.Equal(t, 6, authors)
}

func TestPlainRunFails(t *testing.T) {
	t.Parallel()
	status, _, problems := run(t, "postgres://nobody@localhost:1/none?sslmode=disable&connect_timeout=2")
	require.Equal(t, 1, status)
	require.Contains(t, problems, "DATABASE_URL")
	status, _, problems = run(t, "", "no-such-command")
	require.Equal(t, 1, status)
	require.Contains(t, problems, "no-such-command")
}

var exported = regexp.MustCompile(`^export DATABASE_URL='(.+)'$`)

func TestDB(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]os.Signal{"Interrupt": os.Interrupt, "Terminate": syscall.SIGTERM, "Kill": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "", "db")
			line := p.await(t, "DATABASE_URL")
			require.Regexp(t, exported, line)
			address := exported.FindStringSubmatch(line)[1]
			_, err := url.Parse(address)
			require.NoError(t, err)
			conn := connect(t, address)
			execute(t, conn, "CREATE TABLE kept (id int)")
			require.NotEmpty(t, leftovers(t, p), "the check for leftovers must see a running server")

			require.NoError(t, p.cmd.Process.Signal(signal))
			status, _, problems := p.status(t)
			if signal != syscall.SIGKILL {
				require.Zero(t, status, problems)
				require.Empty(t, problems)
				require.Empty(t, leftovers(t, p))
			}
			require.Eventually(t, func() bool { return len(leftovers(t, p)) == 0 }, limit, 20*time.Millisecond)
			_, err = pgx.Connect(t.Context(), address)
			require.Error(t, err)
		})
	}
}

// The three terminals of the package's comment.
func TestThreeTerminals(t *testing.T) {
	t.Parallel()
	db := start(t, "", "db")
	address := exported.FindStringSubmatch(db.await(t, "DATABASE_URL"))[1]
	listen := start(t, address, "listen", "--channel", "author_insert")
	require.Equal(t, "listening on author_insert", listen.await(t, "listening"))
	status, out, problems := run(t, address)
	require.Zero(t, status, "%s%s", out, problems)
	requireStories(t, out)
	for _, name := range []string{"Paul", "Ada", "Grace"} { // one of the two has done it
		text := "creating the first post of " + name
		require.Eventually(t, func() bool { return strings.Count(out+listen.output(), text) == 1 }, limit, time.Millisecond, text)
	}
	require.NoError(t, listen.cmd.Process.Signal(os.Interrupt))
	status, out, problems = listen.status(t)
	require.Zero(t, status, problems)
	require.NotContains(t, out, "user_details")
	require.NoError(t, db.cmd.Process.Signal(os.Interrupt))
	status, _, problems = db.status(t)
	require.Zero(t, status, problems)
}

func TestListen(t *testing.T) {
	t.Parallel()
	address := database(t)
	first := start(t, address, "listen", "--channel", "author_insert")
	second := start(t, address, "listen") // both migrate at once
	require.Equal(t, "listening on author_insert", first.await(t, "listening"))
	require.Equal(t, "listening on author_insert, post_reads_per_date, user_details", second.await(t, "listening"))

	conn := connect(t, address)
	execute(t, conn, "INSERT INTO example.authors (name) VALUES ('Ada')")
	execute(t, conn, "INSERT INTO example.users (username, email) VALUES ('jane', 'jane@example.org')")
	execute(t, conn, "UPDATE example.users SET email = 'j@example.org'")
	execute(t, conn, `NOTIFY post_reads_per_date, '{"PostID": 12, "Date": "2026-01-01"}'`)
	require.Eventually(t, func() bool {
		return strings.Count(first.output()+second.output(), "creating the first post of Ada") == 1
	}, limit, time.Millisecond)
	for _, text := range []string{"jane@example.org", `"email":"j@example.org"`, "post 12: 1 on 2026-01-01"} {
		// In no certain order: each subscription has a goroutine of its own.
		require.Eventually(t, func() bool { return strings.Contains(second.output(), text) }, limit, time.Millisecond, text)
	}
	var posts int
	require.Eventually(t, func() bool {
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM example.posts").Scan(&posts) == nil && posts > 0
	}, limit, time.Millisecond)

	// Who listens.
	status, out, problems := run(t, address, "channels")
	require.Zero(t, status, problems)
	var counts []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			counts = append(counts, strings.Join(f, " "))
		}
	}
	require.Equal(t, []string{"author_insert 2", "post_reads_per_date 1", "user_details 1"}, counts, out)
	require.Equal(t, 4, strings.Count(out, "pubsub listener"), out)

	for _, p := range []*process{first, second} {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		status, out, problems := p.status(t)
		require.Zero(t, status, "%s%s", out, problems)
		require.Empty(t, problems)
	}
	require.NotContains(t, first.output(), "jane")
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM example.posts").Scan(&posts))
	require.Equal(t, 1, posts, "one of two processes has got the event")
	require.Eventually(t, func() bool { // a session ends soon after its process
		_, out, _ := run(t, address, "channels")
		return !strings.Contains(out, "pubsub listener")
	}, limit, 10*time.Millisecond)
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	t.Run("UnknownChannel", func(t *testing.T) {
		t.Parallel()
		status, out, problems := run(t, database(t), "listen", "--channel", "nope")
		require.Equal(t, 1, status)
		require.Empty(t, out)
		require.Contains(t, problems, `"nope"`)
		require.Contains(t, problems, "author_insert, post_reads_per_date, user_details")
	})
	for _, name := range []string{"listen", "channels", "migrate", "status", "dead"} {
		t.Run("NoDatabase/"+name, func(t *testing.T) {
			t.Parallel()
			status, out, problems := run(t, "", name)
			require.Equal(t, 1, status)
			require.Empty(t, out)
			require.Contains(t, problems, "DATABASE_URL")
			require.Contains(t, problems, "example db")
		})
	}
	t.Run("NobodyThere", func(t *testing.T) {
		t.Parallel()
		status, _, problems := run(t, "postgres://nobody@localhost:1/none?sslmode=disable&connect_timeout=2", "listen")
		require.Equal(t, 1, status)
		require.Contains(t, problems, "DATABASE_URL")
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	address := database(t)
	for _, c := range []struct {
		args []string
		out  string
	}{
		{[]string{"migrate"}, "everything is up to date\n"},
		{[]string{"migrate", "--check"}, "everything is up to date\n"},
		{[]string{"migrate", "--prune"}, "everything is up to date\n"},
		{[]string{"migrate", "--sql"}, ""},
	} {
		status, out, problems := run(t, address, c.args...)
		require.Zero(t, status, problems)
		require.Equal(t, c.out, out, c.args)
		require.Empty(t, problems)
	}
	conn := connect(t, address)
	var triggers int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").Scan(&triggers))
	require.Equal(t, 3, triggers)
	execute(t, conn, "ALTER TABLE example.authors DISABLE TRIGGER USER")
	status, _, problems := run(t, address, "migrate", "--check")
	require.Equal(t, 1, status)
	require.Contains(t, problems, "disabled")
	require.Contains(t, problems, "author_insert")
	status, _, problems = run(t, address, "migrate", "--sql", "--check")
	require.Equal(t, 1, status)
	require.Contains(t, problems, "sql")
}

func TestHelp(t *testing.T) {
	t.Parallel()
	status, out, problems := run(t, "", "--help")
	require.Zero(t, status, problems)
	for _, name := range []string{"listen", "migrate", "channels", "db"} {
		require.Regexp(t, `(?m)^  `+name+` `, out)
	}
}
