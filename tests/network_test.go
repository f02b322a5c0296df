package tests

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// trickle is a connection that gives only a few bytes at a time.
type trickle struct {
	net.Conn
	most  int
	close func()
}

func (c trickle) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), c.most)]) }

func (c trickle) Close() error {
	c.close()
	return c.Conn.Close()
}

func TestTricklingNetwork(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{"OneByte": 1, "SevenBytes": 7, "APage": 4096} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			c := listener.NewChannel[string]("news", listener.Broadcast(), listener.In(r))
			in := newInbox[string]()
			c.Listen(in.put)
			var dsn string
			var open atomic.Int64
			db, _ := taped(t, r, nil, pubsub.ListenDial(func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error) {
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
					open.Add(1)
					return trickle{conn, most, sync.OnceFunc(func() { open.Add(-1) })}, nil
				}
				prepare(config)
				return pgx.ConnectConfig(ctx, config)
			}))
			dsn = dsnOf(t, db)
			require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
			stop := pubsubtest.Listen(t, db)
			var want []string
			for n := range 80 {
				want = append(want, strings.Repeat("x€", n*33))
				require.NoError(t, c.Notify(t.Context(), db, want[n]))
			}
			require.Equal(t, want, in.take(t, len(want)))
			killListener(t, db, "news", map[int]bool{})
			comesTrue(t, func() bool { return pubsubtest.Of(t, db).Health().Reconnects == 1 }, "a new connection")
			require.NoError(t, c.Notify(t.Context(), db, "again"))
			require.Equal(t, "again", in.next(t))
			require.EqualValues(t, 1, open.Load(), "one connection, whatever happens")
			stop()
			require.Zero(t, open.Load(), "and none after the end")
		})
	}
}
