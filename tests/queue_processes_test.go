package tests

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// process is the test binary as a worker.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ended chan struct{}
	began atomic.Bool
}

// startWorker starts one, and doesn't wait for it to be ready.
func startWorker(t *testing.T, kind, dsn string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+kind+" "+dsn)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, in: in, lines: make(chan string, 1000), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			line := scanner.Text()
			if line == "ready" {
				p.began.Store(true)
			}
			p.lines <- line
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(p.kill)
	return p
}

// until waits for a line that the process writes.
func (p *process) until(t *testing.T, line string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case got, ok := <-p.lines:
			if got == line {
				return
			}
			require.True(t, ok, "the process has ended")
			require.False(t, strings.HasPrefix(got, "error"), got)
		case <-timeout:
			require.FailNow(t, "the process doesn't get there", line)
		}
	}
}

// ready reports whether it has said so.
func (p *process) ready() bool { return p.began.Load() }

// kill ends it at once, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends it softly, and returns whether it ended well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.in.Close())
	await(t, p.ended)
	require.True(t, p.cmd.ProcessState.Success(), "a soft stop is no error")
}

// stub is a receipt with the subscription's name.
type stub struct {
	ID           int64
	Subscription string
	ParcelID     int64
}

// declareStubs is how the processes write receipts, one by one and many at once.
func declareStubs(r *listener.Registry) {
	tenacious := hooks.Retry(listener.RetryPolicy{Attempts: 10_000, First: time.Millisecond, Last: 20 * time.Millisecond})
	hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		_, err := tx.Statement.ConnPool.ExecContext(ctx, "INSERT INTO stubs (subscription, parcel_id) VALUES ('each', $1)", p.New.ID)
		return err
	}, hooks.In(r), hooks.Name("each"), hooks.Concurrency(2), tenacious)
	hooks.OnInsertBatch(&parcel{}, func(_ context.Context, tx *gorm.DB, ps []hooks.TriggerPayload[parcel]) error {
		stubs := make([]stub, len(ps))
		for i, p := range ps {
			stubs[i] = stub{Subscription: "batch", ParcelID: p.New.ID}
		}
		return tx.Create(&stubs).Error
	}, hooks.In(r), hooks.Name("batch"), hooks.Concurrency(2), tenacious)
}

// Eight processes, killed and replaced again and again while sessions are ended:
// each event takes effect once.
func TestQueueSurvivesItsProcesses(t *testing.T) {
	t.Parallel()
	const processes, rows = 8, 52_000
	server, err := pgserver.Start(t.Context(), pgserver.Setting("max_connections", "400"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	r := hooks.NewRegistry()
	declareStubs(r)
	db := pubsubtest.Open(t, pubsubtest.DSN(server.URL()), pubsubtest.Registry(r), pubsubtest.Models(&parcel{}, &stub{}))
	dsn := dsnOf(t, db)
	workerDSN := dsn + "&application_name=queue_worker"
	require.Contains(t, dsn, "?")

	var written atomic.Int64
	var writers sync.WaitGroup
	writer := func(write func(conn *pgx.Conn) (int64, error)) {
		writers.Go(func() {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.Background())
			for written.Load() < rows && !t.Failed() {
				n, err := write(conn)
				if err != nil {
					t.Error(err)
					return
				}
				written.Add(n)
				time.Sleep(rand.N(10 * time.Millisecond)) // a random pace
			}
		})
	}
	for range 2 {
		writer(func(conn *pgx.Conn) (int64, error) {
			for range 10 {
				if _, err := conn.Exec(t.Context(), "INSERT INTO parcels (label, weight) VALUES ('single', 1)"); err != nil {
					return 0, err
				}
			}
			return 10, nil
		})
	}
	writer(func(conn *pgx.Conn) (int64, error) {
		_, err := conn.Exec(t.Context(), "INSERT INTO parcels (label, weight) SELECT 'batch', 1 FROM generate_series(1, 200)")
		return 200, err
	})
	writer(func(conn *pgx.Conn) (int64, error) {
		return conn.CopyFrom(t.Context(), pgx.Identifier{"parcels"}, []string{"label", "weight"},
			pgx.CopyFromSlice(500, func(i int) ([]any, error) { return []any{"copy", int64(i)}, nil }))
	})

	all := make([]*process, processes)
	for i := range all {
		all[i] = startWorker(t, "stubs", workerDSN)
	}
	kills, ended := 0, int64(0)
	started := time.Now()
	deadline := started.Add(3 * time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		<-tick.C
		events := left(t, db, "event")
		if events == 0 && written.Load() >= rows {
			break
		}
		require.True(t, time.Now().Before(deadline), "%d events are left", events)
		if n%2 == 0 {
			ended += number(t, db, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
				WHERE application_name = 'queue_worker' AND datname = current_database() ORDER BY random() LIMIT 1) AS a`)
		}
		for i, p := range all {
			select {
			case <-p.ended: // its first session was ended, perhaps
				require.False(t, p.ready(), "a process that was ready has ended by itself")
				all[i] = startWorker(t, "stubs", workerDSN)
			default:
			}
		}
		if i := rand.N(processes); n%3 == 2 && all[i].ready() {
			all[i].kill()
			kills++
			all[i] = startWorker(t, "stubs", workerDSN)
		}
	}
	writers.Wait()
	drainedWithin(t, db, 30*time.Second)
	require.Empty(t, deadLetters(t, db))
	var wrong []string
	require.NoError(t, db.Raw(`SELECT s.name || ' ' || p.id || ': ' || count(u.id) FROM parcels p CROSS JOIN (VALUES ('each'), ('batch')) AS s (name)
		LEFT JOIN stubs u ON u.parcel_id = p.id AND u.subscription = s.name GROUP BY s.name, p.id HAVING count(u.id) <> 1 LIMIT 20`).Scan(&wrong).Error)
	require.Empty(t, wrong, "events and how often they took effect, where it isn't 1")
	require.Equal(t, 2*written.Load(), number(t, db, "SELECT count(*) FROM stubs"))
	require.Greater(t, kills, 5)
	require.Greater(t, ended, int64(10))
	for _, p := range all {
		_ = p.in.Close()
	}
	for _, p := range all {
		await(t, p.ended)
	}
	t.Logf("%d rows, %d processes killed, %d sessions ended in %s", written.Load(), kills, ended, time.Since(started))
}
