package tests

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// visit is the model of tests about connections.
type visit struct {
	ID   int64
	Page string
}

func visitInbox(r *listener.Registry) inbox[string] {
	in := newInbox[string]()
	hooks.OnInsert(&visit{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[visit]) error {
		in <- p.New.Page
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("visits"))
	return in
}

// listenFails runs Listen, which must return an error within d.
func listenFails(t *testing.T, p *pubsub.Plugin, d time.Duration, channels ...string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Listen(ctx, channels...) }()
	select {
	case err := <-done:
		require.Error(t, err)
		return err
	case <-time.After(d):
		cancel()
		require.FailNow(t, "Listen has returned no error in time", "%s; after it was stopped: %v", d, <-done)
		return nil
	}
}

func TestFirstConnectionFails(t *testing.T) {
	t.Parallel()
	refusing := func(context.Context, func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return nil, errors.New("no credentials today")
	}
	config, err := pgx.ParseConfig("host=127.0.0.1 port=1 user=x dbname=x connect_timeout=5")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		option pubsub.Option
		want   string
	}{
		"NobodyThere":    {pubsub.ListenDSN("postgres://127.0.0.1:1/x?connect_timeout=5"), "127.0.0.1:1"},
		"Config":         {pubsub.ListenConfig(config), "127.0.0.1"},
		"NotAnAddress":   {pubsub.ListenDSN("postgres://%zz"), "parse"},
		"OwnDial":        {pubsub.ListenDial(refusing), "no credentials today"},
		"UnknownSetting": {pubsub.ListenDSN("host=127.0.0.1 port=nonsense"), "port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			visitInbox(r)
			db, _ := taped(t, r, []any{&visit{}}, c.option)
			p := pubsubtest.Of(t, db)
			require.ErrorContains(t, listenFails(t, p, 5*time.Second), c.want)
			require.Error(t, p.Health().Err())
			select {
			case <-p.Ready():
				require.Fail(t, "Ready without a connection")
			default:
			}
		})
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	visitInbox(r)
	db, _ := taped(t, r, []any{&visit{}})
	p := pubsubtest.Of(t, db)
	err := listenFails(t, p, soon, "nobody's")
	require.ErrorIs(t, err, listener.ErrUnknownChannel)
	require.ErrorContains(t, err, `"nobody's"`)
	require.ErrorContains(t, err, "visits_insert", "the known ones are listed")
	err = listenFails(t, p, soon, "visits_insert", "nobody's")
	require.ErrorIs(t, err, listener.ErrUnknownChannel)

	pubsubtest.Listen(t, db)
	require.ErrorIs(t, listenFails(t, p, soon), listener.ErrListening)
	require.NoError(t, p.Health().Err(), "the refused one leaves the other alone")

	empty, _ := taped(t, hooks.NewRegistry(), nil)
	require.ErrorIs(t, listenFails(t, pubsubtest.Of(t, empty), soon), listener.ErrNothingDeclared)
	unmigrated, _ := taped(t, r, nil)
	require.ErrorIs(t, listenFails(t, pubsubtest.Of(t, unmigrated), soon), triggers.ErrNotMigrated)
	require.ErrorIs(t, pubsub.New().Listen(t.Context()), pubsub.ErrNotUsed)
}

func TestListenAgain(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := visitInbox(r)
	db, _ := taped(t, r, []any{&visit{}})
	for n := range 5 {
		page := fmt.Sprintf("/%d", n)
		stop := pubsubtest.Listen(t, db) // it returns once it receives
		require.NoError(t, db.Create(&visit{Page: page}).Error)
		require.Equal(t, page, in.next(t))
		require.NoError(t, pubsubtest.Of(t, db).Health().Err())
		comesTrue(t, func() bool { return counters(t, db, "visits").Handled == 1 }, "the counters start at zero with each Listen")
		stop()
		require.Error(t, pubsubtest.Of(t, db).Health().Err())
		comesTrue(t, func() bool {
			sessions, err := pubsubtest.Of(t, db).Listeners(t.Context(), "visits_insert")
			return err == nil && len(sessions) == 0
		}, "the session ends")
	}
}

func TestOnlyNamedChannels(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := visitInbox(r)
	c := listener.NewChannel[int]("numbers", listener.Broadcast(), listener.In(r))
	numbers := newInbox[int]()
	c.Listen(numbers.put)
	db, _ := taped(t, r, []any{&visit{}})
	pubsubtest.Listen(t, db, "numbers")
	require.NoError(t, db.Create(&visit{Page: "/"}).Error)
	require.NoError(t, c.Notify(t.Context(), db, 1))
	require.Equal(t, 1, numbers.next(t))
	require.Empty(t, in)
	for channel, want := range map[string]int{"numbers": 1, "visits_insert": 0} {
		sessions, err := pubsubtest.Of(t, db).Listeners(t.Context(), channel)
		require.NoError(t, err)
		require.Len(t, sessions, want, channel)
		if want > 0 {
			require.Equal(t, "pubsub listener", sessions[0].Application)
		}
	}
}

func TestDeaf(t *testing.T) {
	t.Parallel()
	elsewhere := pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()))
	r := hooks.NewRegistry()
	visitInbox(r)
	db, _ := taped(t, r, []any{&visit{}}, pubsub.ListenDSN(dsnOf(t, elsewhere)))
	err := listenFails(t, pubsubtest.Of(t, db), soon)
	require.ErrorIs(t, err, listener.ErrDeaf)
	require.ErrorContains(t, err, "different databases")
	require.ErrorContains(t, err, "pooler in transaction mode")
	require.ErrorContains(t, err, "ListenDSN")
	require.Error(t, pubsubtest.Of(t, db).Health().Err())
}

// ownPool opens a database on a pool that the application made.
func ownPool(t *testing.T, r *listener.Registry, log *slog.Logger) (*gorm.DB, *sql.DB) {
	t.Helper()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	url, drop, err := server.CreateDatabase(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop(context.Background())) })
	pool, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	require.NoError(t, db.Use(pubsub.New(pubsub.WithRegistry(r), pubsub.Logger(log))))
	require.NoError(t, db.AutoMigrate(&visit{}))
	return db, pool
}

func TestPoolOfOne(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := visitInbox(r)
	db, pool := ownPool(t, r, newTape(t).logger())
	pool.SetMaxOpenConns(1)
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&visit{Page: "/1"}).Error)
	require.Equal(t, "/1", in.next(t))

	// It stays the application's: nothing of the listener's is on it.
	var listening int
	require.NoError(t, db.Raw("SELECT count(*) FROM pg_listening_channels()").Scan(&listening).Error)
	require.Zero(t, listening)

	killListener(t, db, "visits_insert", map[int]bool{})
	comesTrue(t, func() bool { return pubsubtest.Of(t, db).Health().Reconnects == 1 }, "a new connection")
	require.NoError(t, db.Create(&visit{Page: "/2"}).Error)
	require.Equal(t, "/2", in.next(t))
}

func TestPoolOfOneIsBusy(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	visitInbox(r)
	db, pool := ownPool(t, r, newTape(t).logger())
	pool.SetMaxOpenConns(1)
	busy, err := pool.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, busy.Close()) })
	err = listenFails(t, pubsubtest.Of(t, db), 12*time.Second)
	require.ErrorContains(t, err, "in use", "what happened is told")
}

// childDSN makes this test's binary a process that only listens.
const childDSN = "PUBSUB_TEST_CHILD_DSN"

func init() {
	dsn := os.Getenv(childDSN)
	if dsn == "" {
		return
	}
	r := hooks.NewRegistry()
	visitInbox(r)
	p := pubsub.New(pubsub.WithRegistry(r))
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err == nil {
		err = db.Use(p)
	}
	if err == nil {
		go func() { <-p.Ready(); fmt.Println("ready") }()
		err = p.Listen(context.Background())
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestKilledProcessLeavesNoSession(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	visitInbox(r)
	db, _ := taped(t, r, []any{&visit{}})
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDSN+"="+dsnOf(t, db), "PGAPPNAME=a child")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	var said string
	_, err = fmt.Fscanln(out, &said)
	require.NoError(t, err)
	require.Equal(t, "ready", said)
	sessions, err := pubsubtest.Of(t, db).Listeners(t.Context(), "visits_insert")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	require.Equal(t, "a child", sessions[0].Application)
	children := func() (n int) {
		require.NoError(t, db.Raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'a child'").Scan(&n).Error)
		return n
	}
	require.Positive(t, children())

	require.NoError(t, child.Process.Kill())
	comesTrue(t, func() bool { return children() == 0 }, "its sessions end")
	sessions, err = pubsubtest.Of(t, db).Listeners(t.Context(), "visits_insert")
	require.NoError(t, err)
	require.Empty(t, sessions)
}
