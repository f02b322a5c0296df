package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
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
	// PollOnly works without a listening connection.
	PollOnly bool
	// KeepDead is how long dead letters are kept. Defaults to 14 days. A negative
	// one means for ever.
	KeepDead time.Duration
	// OnGap is called, in a goroutine of its own, after a broken connection was
	// replaced. Its context and its time to end are those of the functions.
	// Optional.
	OnGap func(context.Context, Gap)
}

const (
	defaultGrace    = 10 * time.Second
	defaultKeepDead = 14 * 24 * time.Hour
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
	polling    bool
	workers    []*worker
	consumers  []*consumer

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
	if config.KeepDead == 0 {
		config.KeepDead = defaultKeepDead
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
		Listening: l.listening, Polling: l.polling, Since: l.since,
		Reconnects: l.reconnects, LastError: l.lastError, trouble: l.trouble,
	}
	for _, w := range l.workers {
		h.Subscriptions = append(h.Subscriptions, w.health())
	}
	for _, c := range l.consumers {
		h.Subscriptions = append(h.Subscriptions, c.health())
	}
	return h
}

// Run listens on the named channels, or on those of all subscriptions when
// none is named, and blocks until ctx ends. It returns nil then, after a soft
// stop: it receives and claims no more, and the functions have Grace to deal with
// what has arrived; then their contexts are cancelled. Broadcasts that are still
// in the buffers are dropped, counted and reported; durable events are in the
// queue again.
//
// It returns an error at once when the declarations don't fit the database,
// when a channel is unknown, or when the first connection can't be made. A
// connection that breaks later is replaced, for as long as it takes.
func (l *Listener) Run(ctx context.Context, channels ...string) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	r, err := l.open(ctx, channels)
	if err != nil {
		return ended(ctx, err)
	}
	conn, err := l.first(ctx, r)
	if err != nil {
		return ended(ctx, err)
	}
	l.mu.Lock()
	l.workers, l.consumers = r.workers, r.consumers
	l.mu.Unlock()
	c := newCrew(l.config, r)
	if conn == nil {
		l.poll()
		<-ctx.Done()
	} else {
		l.arrive()
		l.receive(ctx, conn, r, c)
	}
	return c.stop()
}

// first makes the first connection, nil when the queue is to be polled.
func (l *Listener) first(ctx context.Context, r *run) (*connection, error) {
	if l.config.PollOnly {
		if len(r.workers) > 0 {
			return nil, fmt.Errorf("%w: broadcasts need a listening connection, and the plugin is told to poll only (%s)", ErrDeaf, r.workers[0].sub.site)
		}
		return nil, nil
	}
	conn, err := l.connect(ctx, r, true)
	if errors.Is(err, ErrDeaf) && len(r.workers) == 0 {
		l.config.Logger.Warn("the durable queue is polled every second, since notifications don't arrive", "error", err)
		return nil, nil
	}
	return conn, err
}

// poll records that there is no connection, and that none is needed.
func (l *Listener) poll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polling, l.since = true, time.Now()
	close(l.ready)
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
	if l.listening || l.polling {
		l.listening, l.polling, l.since = false, false, time.Now()
	}
}

// run is what one Run works with.
type run struct {
	workers   []*worker            // of broadcasts
	routes    map[string][]*worker // by their channels' names in Postgres
	consumers []*consumer          // of the durable queue
	gates     *gates
	schedule  *schedule
	store     *store
	stop      chan struct{} // closed by a soft stop
}

// durable returns the channels that have consumers.
func (r *run) durable() []string {
	var channels []string
	for _, c := range r.consumers {
		channels = append(channels, c.channel)
	}
	slices.Sort(channels)
	return slices.Compact(channels)
}

// bound is a subscription with its binding.
type bound struct {
	*Subscription
	Binding
}

// open binds the subscriptions to the database and makes what handles them.
func (l *Listener) open(ctx context.Context, channels []string) (*run, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attempt, errors.New("the database didn't answer (is every connection of the pool in use?)"))
	defer cancel()
	subs, err := l.bind(channels)
	if err != nil {
		return nil, err
	}
	r := &run{routes: map[string][]*worker{}, gates: newGates(l.config.Schema), store: newStore(l.config.Schema), stop: make(chan struct{})}
	ids, err := l.subscribe(ctx, r.store, subs)
	if err == nil && len(ids) > 0 {
		err = l.orphans(ctx, r.store)
	}
	if err != nil {
		return nil, err
	}
	r.schedule = newSchedule(r.store, l.config.DB, l.config.Logger)
	payloads := newPayloads(l.config.Pool, l.config.Schema)
	var problems []error
	for _, b := range subs {
		log := l.config.Logger.With("channel", b.Channel, "subscription", b.name)
		handle, err := b.Open(ctx, l.config.DB, log)
		if err != nil {
			problems = append(problems, fmt.Errorf("listener %q (declared at %s): %w", b.name, b.site, err))
			continue
		}
		if b.broadcast {
			w := &worker{
				sub: b.Subscription, channel: b.Channel, wire: triggers.Wire(l.config.Schema, b.Channel), handle: handle,
				queue: newQueue(b.buffer), db: l.config.DB, payloads: payloads, log: log,
			}
			r.workers = append(r.workers, w)
			r.routes[w.wire] = append(r.routes[w.wire], w)
			continue
		}
		c := &consumer{
			sub: b.Subscription, id: ids[b.name], channel: b.Channel, handle: handle, whole: b.Whole, db: l.config.DB, pool: l.config.Pool,
			store: r.store, gate: r.gates.of(b.Channel), schedule: r.schedule, generation: &l.generation, log: log,
			pace: newPace(b.batch), watches: make(chan *watch, 1), stop: r.stop,
		}
		if b.ordered {
			c.mark.start, c.mark.after = math.MinInt64, math.MinInt64
		}
		c.watches <- &watch{pause: busyPoll}
		r.consumers = append(r.consumers, c)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return r, nil
}

// bind binds the subscriptions of the channels, or all of them when none is
// named.
func (l *Listener) bind(channels []string) ([]bound, error) {
	known := map[string]bool{}
	var subs []bound
	var problems []error
	for _, sub := range l.config.Registry.Subscriptions() {
		b, err := sub.Bind(l.config.DB)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		known[b.Channel] = true
		if len(channels) == 0 || slices.Contains(channels, b.Channel) {
			subs = append(subs, bound{sub, b})
		}
	}
	if len(known) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("%w: import the package that declares them", ErrNothingDeclared)
	}
	for _, c := range channels {
		if !known[c] {
			problems = append(problems, fmt.Errorf("%w %q; known are: %s", ErrUnknownChannel, c, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	return subs, errors.Join(problems...)
}

// subscribe records the durable subscriptions, and returns their numbers by
// their names.
func (l *Listener) subscribe(ctx context.Context, s *store, subs []bound) (map[string]int32, error) {
	var records []triggers.Subscription
	for _, b := range subs {
		if !b.broadcast {
			records = append(records, b.Record(b.Channel))
		}
	}
	if len(records) == 0 {
		return nil, nil
	}
	in := triggers.Installer{Schema: l.config.Schema}
	if err := in.Subscribe(ctx, l.config.DB, records); err != nil {
		return nil, err
	}
	return s.subscriptionIDs(ctx, l.config.Pool)
}

// orphans warns of events that wait for what nothing declares.
func (l *Listener) orphans(ctx context.Context, s *store) error {
	declared := map[string]bool{}
	for _, sub := range l.config.Registry.Subscriptions() {
		declared[sub.name] = !sub.broadcast
	}
	names, err := s.waiting(ctx, l.config.Pool)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !declared[name] {
			l.config.Logger.Warn("events wait for a subscription that nothing declares: Rename it when its function was renamed, or Prune it", "subscription", name)
		}
	}
	return nil
}
