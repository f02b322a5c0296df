package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// Config is what a Listener needs. The plugin fills it.
type Config struct {
	// DB is handed to the functions. Required.
	DB *gorm.DB
	// Pool is the application's pool, for our own statements. Required.
	Pool gorm.ConnPool
	// Registry has the subscriptions. Required.
	Registry *Registry
	// Dial opens the connection to listen on. Required.
	Dial Dial
	// Logger gets what goes wrong where nobody can return an error. Required.
	Logger *slog.Logger
	// Schema has our tables. Defaults to "pubsub".
	Schema string
	// Grace is how long a soft stop waits for functions that are running and
	// notifications that have arrived. Defaults to 10 seconds.
	Grace time.Duration
	// OnGap is called, in a goroutine of its own, after a broken connection was
	// replaced. Its context and its time to end are those of the functions.
	// Optional.
	OnGap func(context.Context, Gap)
}

const (
	defaultGrace = 10 * time.Second
	// attempt bounds one attempt to connect.
	attempt = 30 * time.Second
)

// Listener receives notifications and runs the subscriptions' functions.
type Listener struct {
	config Config

	mu         sync.Mutex
	running    bool
	ready      chan struct{}
	listening  bool
	since      time.Time
	alive      time.Time // when the server last showed that it is there
	reconnects int64
	lastError  error
	trouble    error
	workers    []*worker

	generation atomic.Int64
}

// New returns a Listener that doesn't listen yet.
func New(config Config) *Listener {
	if config.Schema == "" {
		config.Schema = triggers.DefaultSchema
	}
	if config.Grace <= 0 {
		config.Grace = defaultGrace
	}
	return &Listener{config: config, ready: make(chan struct{})}
}

// Ready returns a channel that is closed when the Run that is going on, or else
// the next one, has begun to receive: what is committed from then on is
// delivered.
func (l *Listener) Ready() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

// Health returns the state at this moment. It doesn't ask the database.
func (l *Listener) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := Health{
		Listening: l.listening, Since: l.since,
		Reconnects: l.reconnects, LastError: l.lastError, trouble: l.trouble,
	}
	for _, w := range l.workers {
		h.Subscriptions = append(h.Subscriptions, w.health())
	}
	return h
}

// Run listens on the named channels, or on those of all subscriptions when
// none is named, and blocks until ctx ends. It returns nil then, after a soft
// stop: it receives no more, and the functions have Grace to deal with what has
// arrived; then their contexts are cancelled, and what is still in the buffers
// is dropped, counted and reported.
//
// It returns an error at once when the declarations don't fit the database,
// when a channel is unknown, or when the first connection can't be made. A
// connection that breaks later is replaced, for as long as it takes.
func (l *Listener) Run(ctx context.Context, channels ...string) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	workers, err := l.open(ctx, channels)
	if err != nil {
		return ended(ctx, err)
	}
	routes := map[string][]*worker{}
	for _, w := range workers {
		routes[w.wire] = append(routes[w.wire], w)
	}
	conn, err := l.connect(ctx, routes, true)
	if err != nil {
		return ended(ctx, err)
	}

	c := newCrew(l.config, workers)
	l.arrive()
	l.receive(ctx, conn, routes, c)
	return c.stop()
}

// ended returns err, or nil when it comes from the end of ctx, which is a clean
// stop. A deadline may show in what it ends before it shows in ctx.
func ended(ctx context.Context, err error) error {
	deadline, ok := ctx.Deadline()
	if ctx.Err() != nil || ok && !time.Now().Before(deadline) {
		return nil
	}
	return err
}

func (l *Listener) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running {
		return ErrListening
	}
	l.running = true
	return nil
}

func (l *Listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	select {
	case <-l.ready:
		l.ready = make(chan struct{})
	default:
	}
	if l.listening {
		l.listening, l.since = false, time.Now()
	}
}

// open binds the subscriptions to the database and makes their workers.
func (l *Listener) open(ctx context.Context, channels []string) ([]*worker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attempt, errors.New("the database didn't answer (is every connection of the pool in use?)"))
	defer cancel()
	wanted := map[string]bool{}
	for _, c := range channels {
		wanted[c] = false
	}
	known := map[string]bool{}
	payloads := newPayloads(l.config.Pool, l.config.Schema)
	var workers []*worker
	var problems []error
	for _, sub := range l.config.Registry.Subscriptions() {
		b, err := sub.Bind(l.config.DB)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		known[b.Channel] = true
		if _, ok := wanted[b.Channel]; len(wanted) > 0 && !ok {
			continue
		}
		log := l.config.Logger.With("channel", b.Channel, "subscription", sub.name)
		handle, err := b.Open(ctx, l.config.DB, log)
		if err != nil {
			problems = append(problems, fmt.Errorf("listener %q (declared at %s): %w", sub.name, sub.site, err))
			continue
		}
		workers = append(workers, &worker{
			sub: sub, channel: b.Channel, wire: triggers.Wire(l.config.Schema, b.Channel), handle: handle, queue: newQueue(sub.buffer), db: l.config.DB, payloads: payloads,
			log: log,
		})
	}
	if len(known) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("%w: import the package that declares them", ErrNothingDeclared)
	}
	for _, c := range channels {
		if !known[c] {
			problems = append(problems, fmt.Errorf("%w %q; known are: %s", ErrUnknownChannel, c, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.workers = workers
	return workers, nil
}
