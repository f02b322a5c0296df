package tests

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// Postgres is restarted while events flow, politely and not: what was committed
// is handled, and takes effect once.
func TestQueueOutlivesPostgres(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	retry := hooks.Retry(listener.RetryPolicy{Attempts: 1000, First: time.Millisecond, Last: 50 * time.Millisecond})
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Concurrency(2), retry)
	onParcelDurably(r, "leased", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Leased(2*time.Second), retry)
	log := newTape(t)
	p := pubsub.New(pubsub.WithRegistry(r), pubsub.Logger(log.logger()))
	db := pubsubtest.Open(t, pubsubtest.DSN(server.URL()), pubsubtest.Plugin(p), pubsubtest.Models(&parcel{}, &receipt{}))
	pubsubtest.Listen(t, db)
	quit := make(chan struct{})
	var writers sync.WaitGroup
	var written atomic.Int64
	for range 2 {
		writers.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				if db.Create(&[]parcel{{Label: "a"}, {Label: "b"}, {Label: "c"}}).Error == nil {
					written.Add(1)
				} else {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	more := func() {
		t.Helper()
		before := written.Load()
		comesTrue(t, func() bool { return written.Load() > before+50 }, "rows are written")
	}
	restart := func(how func()) {
		t.Helper()
		more()
		how()
		err := server.Restart(t.Context())
		if errors.Is(err, pgserver.ErrNotOurs) { // the most that can be done
			_ = db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Error
			return
		}
		for deadline := time.Now().Add(soon); err != nil && time.Now().Before(deadline); { // the old one's sessions may be about to go
			time.Sleep(100 * time.Millisecond)
			err = server.Restart(t.Context())
		}
		require.NoError(t, err)
	}
	var directory string
	_ = db.Raw("SHOW data_directory").Scan(&directory).Error
	signal := func(s syscall.Signal) func() {
		return func() {
			text, err := os.ReadFile(filepath.Join(directory, "postmaster.pid"))
			if err != nil {
				return
			}
			first, _, _ := strings.Cut(string(text), "\n")
			pid, err := strconv.Atoi(first)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, s))
		}
	}
	restart(func() {})
	restart(signal(syscall.SIGQUIT)) // immediate
	restart(signal(syscall.SIGKILL))
	more()
	close(quit)
	writers.Wait()
	drainedWithin(t, db, 30*time.Second)
	requireReceipts(t, db)
	require.Empty(t, deadLetters(t, db))
	// The queue may be polled until the next attempt to listen.
	within(t, time.Minute, func() bool { return p.Health().Err() == nil }, "a new listening connection")
	t.Log(receipts(t, db), "events")
}

// dumb is a connection whose network goes silent: nothing arrives any more, and
// what is sent is lost.
type dumb struct {
	net.Conn
	silent *atomic.Bool
	closed chan struct{}
	close  func()
}

func (c dumb) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if !c.silent.Load() || err != nil && !c.silent.Load() {
			return n, err
		}
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		default:
		}
		if err != nil { // a deadline, or the end: nobody would know of the end
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return 0, err
			}
			<-c.closed
			return 0, net.ErrClosed
		}
	}
}

func (c dumb) Write(p []byte) (int, error) {
	if c.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c dumb) Close() error {
	c.close()
	return c.Conn.Close()
}

// The listening connection's network goes silent: events are handled all the same,
// at the latest when the worker looks by itself.
func TestQueueSilentNetwork(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"WhileAsleep": false, "WhileBusy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w := hooks.NewRegistry(), newStopwatch()
			hooks.OnInsert(&parcel{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				w.handle("d", p.New.ID)
				return tx.Create(&receipt{ParcelID: p.New.ID}).Error
			}, hooks.In(r), hooks.Name("d"))
			var silent atomic.Bool
			var dsn string
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}}, pubsub.ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
				config, err := pgx.ParseConfig(dsn)
				if err != nil {
					return nil, err
				}
				dial := config.DialFunc
				config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if err != nil {
						return nil, err
					}
					closed := make(chan struct{})
					return dumb{conn, &silent, closed, sync.OnceFunc(func() { close(closed) })}, nil
				}
				prepare(config)
				return pgx.ConnectConfig(ctx, config)
			}))
			dsn = dsnOf(t, db)
			pubsubtest.Listen(t, db)
			one := func() {
				p := parcel{Label: "x"}
				require.NoError(t, db.Create(&p).Error)
				w.commit(time.Now(), p.ID)
			}
			for range 20 {
				one()
			}
			if !busy {
				within(t, soon, func() bool { return w.missing("d") == 0 }, "handled")
				asleep(t, db, "parcels_insert")
			}
			silent.Store(true)
			at := time.Now()
			for range 40 {
				one()
				if busy {
					time.Sleep(20 * time.Millisecond)
				}
			}
			within(t, 12*time.Second, func() bool { return w.missing("d") == 0 }, "all are handled though the network is silent")
			t.Log("handled within", time.Since(at))
			drained(t, db)
			requireReceipts(t, db)
		})
	}
}
