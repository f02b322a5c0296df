package listener_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/listener"
)

// backend is a server's end of a connection in memory, which answers as
// Postgres does until it is frozen: then it reads and never answers.
type backend struct {
	mu     sync.Mutex
	conn   *pgproto3.Backend
	frozen bool
	pings  int
}

func (b *backend) freeze() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen = true
}

func (b *backend) notify(channel, payload string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.frozen {
		b.conn.Send(&pgproto3.NotificationResponse{Channel: channel, Payload: payload})
		_ = b.conn.Flush()
	}
}

func (b *backend) serve(conn net.Conn, opened func(*backend)) {
	defer func() { _ = conn.Close() }()
	startup, err := b.conn.ReceiveStartupMessage()
	if _, ok := startup.(*pgproto3.StartupMessage); err != nil || !ok {
		return // a request to cancel has a connection of its own
	}
	opened(b)
	b.conn.Send(&pgproto3.AuthenticationOk{})
	b.conn.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	b.conn.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	b.conn.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
	b.conn.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = b.conn.Flush()
	for {
		message, err := b.conn.Receive()
		if err != nil {
			return
		}
		query, ok := message.(*pgproto3.Query)
		if !ok {
			return
		}
		b.answer(query.String)
	}
}

func (b *backend) answer(query string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.frozen {
		return
	}
	if strings.HasPrefix(query, "--") {
		b.pings++
		b.conn.Send(&pgproto3.EmptyQueryResponse{})
	} else {
		for range strings.Count(query, ";") + 1 {
			b.conn.Send(&pgproto3.CommandComplete{CommandTag: []byte("LISTEN")})
		}
	}
	b.conn.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = b.conn.Flush()
}

// memory is a network and an application's pool in memory.
type memory struct {
	mu       sync.Mutex
	backends []*backend
	refuse   func(context.Context) error
	attempts []time.Time
}

func (m *memory) add(b *backend) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.backends = append(m.backends, b)
}

func (m *memory) last() *backend {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.backends[len(m.backends)-1]
}

func (m *memory) refuseWith(f func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse, m.attempts = f, nil
}

func (m *memory) dial(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	m.mu.Lock()
	refuse := m.refuse
	m.attempts = append(m.attempts, time.Now())
	m.mu.Unlock()
	if refuse != nil {
		if err := refuse(ctx); err != nil {
			return nil, err
		}
	}
	config, err := pgx.ParseConfig("host=memory user=u database=d sslmode=disable")
	if err != nil {
		return nil, err
	}
	prepare(config)
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"10.0.0.1"}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		b := &backend{conn: pgproto3.NewBackend(theirs, theirs)}
		go b.serve(theirs, m.add)
		return ours, nil
	}
	return pgx.ConnectConfig(ctx, config)
}

func (m *memory) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if strings.Contains(query, "pg_notify") {
		channel, _ := args[0].(string)
		go m.last().notify(channel, "")
	}
	return nil, nil
}

var errNotHere = errors.New("not in memory")

func (*memory) PrepareContext(context.Context, string) (*sql.Stmt, error) { return nil, errNotHere }

func (*memory) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errNotHere
}

func (*memory) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

// inMemory runs a Listener in a bubble of its own time, until the test returns.
func inMemory(t *testing.T, h func(context.Context, *gorm.DB, string) error, f func(t *testing.T, m *memory, l *listener.Listener, gaps chan listener.Gap, stop func() error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, m := &listener.Registry{}, &memory{}
		listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r)).Listen(h, listener.Name("news"))
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: m}), &gorm.Config{DisableAutomaticPing: true})
		require.NoError(t, err)
		gaps := make(chan listener.Gap, 100)
		l := listener.New(listener.Config{
			DB: db, Pool: m, Registry: r, Dial: m.dial, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			OnGap: func(_ context.Context, g listener.Gap) { gaps <- g },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		stop := sync.OnceValue(func() error { cancel(); return <-done })
		defer func() {
			_ = stop()
			time.Sleep(time.Minute) // pgconn may close a connection in the background
		}()
		select {
		case <-l.Ready():
		case err := <-done:
			require.NoError(t, err)
		}
		f(t, m, l, gaps, stop)
	})
}
