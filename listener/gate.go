package listener

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-pubsub/pubsub/internal/plain"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// gates are how this process goes to sleep on durable channels so that writers
// wake it, and how they learn that they need not.
//
// A writer's trigger, after it has stored an event, tries the shared half of the
// channel's advisory lock. If it can't have it, somebody sleeps, and it notifies.
// If it can, it keeps the lock until it commits. A process that found nothing to
// do takes the exclusive half on its listening connection, looks once more, and
// only then waits: every writer that didn't notify has committed by then, and
// was seen, and every later one notifies. While nobody sleeps commits don't
// notify, which would put them one behind the other in the whole cluster.
//
// One process can hold the lock, the sentinel. Another one may sleep behind it,
// since it hears the same notifications. When the sentinel gives the lock up it
// sends one itself, and who wakes behind it looks for the lock again before it
// sleeps; what a sentinel's sudden death leaves is found by the slow poll.
type gates struct {
	schema string

	mu     sync.Mutex
	conn   *connection // nil while nothing is being received
	gone   context.Context
	lose   context.CancelFunc
	byName map[string]*gate
}

// gate is one channel's.
type gate struct {
	*gates
	channel string
	key     int32

	command sync.Mutex // one command at a time, so that they come in order

	mu       sync.Mutex
	epoch    int64         // counts the wake-ups
	woken    chan struct{} // closed at the next one
	state    gateState
	arming   int64 // counts how often the gate was armed; see watch
	sleepers int
	conn     *connection // for which state holds
}

type gateState int

const (
	awake    gateState = iota
	sentinel           // this process holds the lock
	behind             // another one does
)

func newGates(schema string) *gates {
	g := &gates{schema: schema, byName: map[string]*gate{}}
	g.gone, g.lose = context.WithCancel(context.Background())
	g.lose()
	return g
}

func (g *gates) of(channel string) *gate {
	one, ok := g.byName[channel]
	if !ok {
		one = &gate{gates: g, channel: channel, key: triggers.GateKey(g.schema, channel), woken: make(chan struct{})}
		g.byName[channel] = one
	}
	return one
}

// connected says that conn is receiving, nil that nothing is. Everybody looks.
func (g *gates) connected(conn *connection) {
	g.mu.Lock()
	g.lose()
	g.conn = conn
	if conn != nil {
		g.gone, g.lose = context.WithCancel(context.Background())
	}
	g.mu.Unlock()
	for _, one := range g.byName {
		one.wake()
	}
}

// wake has everybody look who sleeps at the gate.
func (g *gate) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch++
	close(g.woken)
	g.woken = make(chan struct{})
}

// now returns the wake-ups so far, to be given to wait.
func (g *gate) now() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch
}

// wait returns when there was a wake-up since epoch, when d has passed or when
// stop is closed.
func (g *gate) wait(epoch int64, d time.Duration, stop <-chan struct{}) {
	g.mu.Lock()
	changed, ch := g.epoch != epoch, g.woken
	g.mu.Unlock()
	if changed {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ch:
	case <-timer.C:
	case <-stop:
	}
}

// current returns the connection that is receiving.
func (g *gates) current() (*connection, context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conn, g.gone
}

// armed reports whether writers of the channel are bound to wake this process,
// and have been since the given arming: who looked after an earlier one has not
// seen what was stored in between.
func (g *gate) armed(arming int64) bool {
	conn, _ := g.current()
	g.mu.Lock()
	defer g.mu.Unlock()
	return conn != nil && g.conn == conn && g.state != awake && g.arming == arming
}

// enter makes a worker rely on the gate, if that is armed already, and returns
// the arming, 0 if it isn't.
func (g *gate) enter() int64 {
	conn, _ := g.current()
	g.mu.Lock()
	defer g.mu.Unlock()
	if conn == nil || g.conn != conn || g.state == awake {
		return 0
	}
	g.sleepers++
	return g.arming
}

// doubt has the gate armed anew when this process sleeps behind another one,
// which may have gone.
func (g *gate) doubt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == behind {
		g.state = awake
	}
}

// arm tries to get there, and then makes a worker rely on the gate and returns the
// arming. The worker has to look once more before it waits. reachable tells
// whether it can be tried again before long: a writer's transaction is in the way,
// and not a missing connection. It doesn't wait long for a connection that has
// fallen silent.
func (g *gate) arm() (arming int64, reachable bool) {
	if !g.command.TryLock() { // an answer is still to come
		return 0, true
	}
	conn, gone := g.current()
	if conn == nil {
		g.command.Unlock()
		return 0, false
	}
	if arming = g.enter(); arming != 0 {
		g.command.Unlock()
		return arming, true
	}
	done := conn.send(fmt.Sprintf(`SELECT CASE
WHEN pg_catalog.pg_try_advisory_lock(%[1]d, %[2]d) THEN 'sentinel'
WHEN EXISTS (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
  WHERE l.locktype = 'advisory' AND l.classid = %[1]d AND l.objid = %[3]d AND l.objsubid = 2 AND l.mode = 'ExclusiveLock' AND l.granted) THEN 'behind'
END`, triggers.Gate, g.key, uint32(g.key))) //nolint:gosec // the same 32 bits
	timer := time.NewTimer(blindPoll)
	defer timer.Stop()
	select {
	case r := <-done:
		defer g.command.Unlock()
		return g.answered(conn, r)
	case <-gone.Done():
		g.command.Unlock()
		return 0, false
	case <-timer.C:
	}
	go func() { // takes back what may still be had
		defer g.command.Unlock()
		select {
		case r := <-done:
			if r.err == nil && r.value == "sentinel" {
				_ = conn.ask(gone, g.unlock())
			}
		case <-gone.Done():
		}
	}()
	return 0, false
}

// answered notes what the database has answered.
func (g *gate) answered(conn *connection, r result) (arming int64, reachable bool) {
	if r.err != nil {
		return 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn = conn
	switch r.value {
	case "sentinel":
		g.state = sentinel
	case "behind":
		g.state = behind
	default:
		g.state = awake
		return 0, true
	}
	g.arming++
	g.sleepers++
	return g.arming, true
}

// unlock gives the lock up once; it counts how often this session has it. Then it
// tells the processes behind this one, which may have looked and gone back to
// sleep since they were notified.
func (g *gate) unlock() string {
	return fmt.Sprintf("SELECT pg_catalog.pg_advisory_unlock(%d, %d); SELECT %s(%s)",
		triggers.Gate, g.key, pgx.Identifier{g.schema, "wake"}.Sanitize(), plain.Literal(g.channel))
}

// rise says that a worker doesn't rely on the gate any more, and gives the lock
// up when nobody in this process does. It doesn't wait for that.
func (g *gate) rise() {
	conn, gone := g.current()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sleepers--; g.sleepers > 0 || g.state == awake {
		return
	}
	held := g.state == sentinel && g.conn == conn
	if g.state = awake; held && conn != nil {
		go func() { _ = conn.ask(gone, g.unlock()) }() // a connection that fails takes the lock with it
	}
}
