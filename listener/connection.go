package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Dial opens the connection to listen on. It calls prepare with the
// configuration before it connects. The connection must be its own: one from a
// pool would go back there still listening.
type Dial func(ctx context.Context, prepare func(*pgx.ConnConfig)) (*pgx.Conn, error)

// What the connection's health is judged by. A silent connection is asked for
// a sign of life every silence; the answer has patience to arrive. So a dead
// one is found within 2×silence + patience.
const (
	silence  = 15 * time.Second
	patience = 10 * time.Second
	// keepAlive is TCP's own check, which finds a vanished host.
	keepAlive = 15 * time.Second
)

// connection is an open, listening connection. It belongs to one goroutine.
type connection struct {
	conn *pgx.Conn
	pg   *pgconn.PgConn
	wire *wire
	// onNotification is called by the goroutine that receives. The slices are
	// valid until it returns.
	onNotification func(channel, payload []byte, arrived time.Time)
	received       int64     // notifications so far
	last           time.Time // when the last one came

	mu       sync.Mutex
	commands []command // that wait to be run
	busy     bool      // one is being run, and its answer must not be interrupted
}

// command is a statement for the goroutine that receives to run in between.
type command struct {
	sql  string
	done chan<- result
}

type result struct {
	value string // of the first column of the last row
	err   error
}

// send has the statement run on this connection by the goroutine that receives.
// The answer may never come, if the connection breaks.
func (c *connection) send(sql string) <-chan result {
	done := make(chan result, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands = append(c.commands, command{sql, done})
	if !c.busy {
		_ = c.pg.Conn().SetReadDeadline(time.Unix(1, 0)) // ends the wait in receive
	}
	return done
}

// ask is send, and waits for the answer until ctx ends.
func (c *connection) ask(ctx context.Context, sql string) error {
	select {
	case r := <-c.send(sql):
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the next command, and says that it is being run; none ends that.
// The reader's next wait ends at deadline.
func (c *connection) take(deadline time.Time) (next command, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy = len(c.commands) > 0; c.busy {
		next, c.commands = c.commands[0], c.commands[1:]
		return next, true, c.pg.Conn().SetReadDeadline(time.Time{})
	}
	return command{}, false, c.pg.Conn().SetReadDeadline(deadline)
}

// asked reports whether commands wait.
func (c *connection) asked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.commands) > 0
}

func (c *connection) run(ctx context.Context, sql string) (r result) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return result{err: err}
	}
	for _, set := range results {
		if len(set.Rows) > 0 && len(set.Rows[0]) > 0 {
			r.value = string(set.Rows[0][0])
		}
	}
	return r
}

// connect dials, and listens on nothing yet.
func connect(ctx context.Context, dial Dial) (*connection, error) {
	c := &connection{onNotification: func([]byte, []byte, time.Time) {}}
	conn, err := dial(ctx, func(config *pgx.ConnConfig) {
		// A configuration copied from a live connection has that connection's
		// callback.
		config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
			c.count(time.Now())
			c.onNotification([]byte(n.Channel), []byte(n.Payload), c.last)
		}
		build := config.BuildFrontend
		config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
			c.wire = newWire(r)
			return build(c.wire, w)
		}
		if config.RuntimeParams["application_name"] == "" {
			if config.RuntimeParams == nil {
				config.RuntimeParams = map[string]string{}
			}
			config.RuntimeParams["application_name"] = "pubsub listener"
		}
	})
	if err != nil {
		return nil, fmt.Errorf("connect to listen: %w", err)
	}
	c.conn, c.pg = conn, conn.PgConn()
	if c.wire == nil {
		c.close()
		return nil, errors.New("connect to listen: the dial function must call prepare with the configuration that it connects with")
	}
	network := c.pg.Conn()
	if secure, ok := network.(*tls.Conn); ok {
		network = secure.NetConn()
	}
	if tcp, ok := network.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3})
	}
	return c, nil
}

func (c *connection) count(arrived time.Time) {
	c.received++
	c.last = arrived
}

// exec runs statements without parameters. Notifications that arrive meanwhile
// are delivered.
func (c *connection) exec(ctx context.Context, sql string) error {
	_, err := c.pg.Exec(ctx, sql).ReadAll()
	return err
}

// listen starts to listen on the channels.
func (c *connection) listen(ctx context.Context, channels []string) error {
	var b strings.Builder
	// Since Postgres 14 a server may end sessions that are idle.
	b.WriteString("SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout';")
	for _, channel := range channels {
		fmt.Fprintf(&b, "LISTEN %s;", pgx.Identifier{channel}.Sanitize())
	}
	if err := c.exec(ctx, b.String()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// receive delivers notifications until ctx ends, and then returns nil, or
// until the connection fails. alive is called when the server has answered a
// ping.
func (c *connection) receive(ctx context.Context, alive func()) error {
	// A read with a context costs a goroutine; one with a deadline costs
	// nothing, and a deadline in the past ends it.
	stop := context.AfterFunc(ctx, func() { _ = c.pg.Conn().SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		before := c.received
		for {
			q, ok, err := c.take(time.Now().Add(silence))
			if err != nil {
				return ended(ctx, err)
			}
			if !ok {
				break
			}
			r := c.run(ctx, q.sql)
			q.done <- r
			if r.err != nil {
				return ended(ctx, r.err)
			}
		}
		err := error(nil)
		for err == nil && ctx.Err() == nil {
			err = c.next()
		}
		if ctx.Err() != nil {
			return nil
		}
		var network net.Error
		if !errors.As(err, &network) || !network.Timeout() {
			return err
		}
		if c.received == before && !c.asked() {
			if err := c.ping(ctx); err != nil {
				return err
			}
			alive()
		}
	}
}

// next delivers the next notification, or lets pgconn deal with a message of
// another kind.
func (c *connection) next() error {
	channel, payload, ok, err := c.wire.next()
	switch {
	case err != nil:
		return err
	case ok:
		c.count(c.wire.arrived)
		c.onNotification(channel, payload, c.last)
		return nil
	}
	_, err = c.pg.ReceiveMessage(context.Background())
	return err
}

// ping asks for a sign of life.
func (c *connection) ping(ctx context.Context) error {
	c.mu.Lock()
	c.busy = true
	err := c.pg.Conn().SetReadDeadline(time.Time{})
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if r := c.run(ctx, "-- still there?"); r.err != nil {
		return fmt.Errorf("the connection is silent and gives no sign of life: %w", r.err)
	}
	return nil
}

// close ends the session. It doesn't wait long for a server that is gone.
func (c *connection) close() {
	_ = c.pg.Conn().SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
}
