package listener

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/triggers"
)

// Registry holds declarations. The zero value is empty and ready. It may be
// used from several goroutines.
type Registry struct {
	mu       sync.Mutex
	subs     []*Subscription
	channels []declared
}

// declared is a typed channel's name and place.
type declared struct {
	name, site string
}

// DefaultRegistry holds the declarations that name no other. Declarations
// usually stand in package variables and init functions; give tests, and
// programs with several databases, registries of their own.
var DefaultRegistry = &Registry{}

// Subscription is a declared function on a channel, in this process. See
// triggers.Subscription for how the database keeps it.
type Subscription struct {
	name string
	site string
	bind func(*gorm.DB) (Binding, error)
	settings
}

// Name returns the subscription's name, which is unique in its registry.
func (s *Subscription) Name() string { return s.name }

// Broadcast reports whether it is delivered by broadcast.
func (s *Subscription) Broadcast() bool { return s.broadcast }

// Ordered reports whether its events keep their order for each primary key.
func (s *Subscription) Ordered() bool { return s.ordered }

// Record returns the subscription as the database keeps it.
func (s *Subscription) Record(channel string) triggers.Subscription {
	return triggers.Subscription{Name: s.name, Channel: channel, Broadcast: s.broadcast, Ordered: s.ordered}
}

// Site returns where the subscription was declared, as "folder/file.go:12".
func (s *Subscription) Site() string { return s.site }

// Bind resolves the subscription for a database: its channel, its trigger and
// how to open its handler.
func (s *Subscription) Bind(db *gorm.DB) (Binding, error) {
	b, err := s.bind(db)
	if err != nil {
		return Binding{}, fmt.Errorf("listener %q (declared at %s): %w", s.name, s.site, err)
	}
	if d := b.Trigger; d != nil {
		d.Durable, d.Broadcast, d.Ordered = !s.broadcast, s.broadcast, s.ordered
		if s.ordered && len(d.Key) == 0 {
			return Binding{}, fmt.Errorf("listener %q (declared at %s): Ordered keeps the order of each primary key, and table %s has none", s.name, s.site, d.Table)
		}
	}
	return b, nil
}

// Binding is a subscription as one database sees it.
type Binding struct {
	// Channel is the notification channel.
	Channel string
	// Trigger is what publishes on the channel; nil when the application does.
	Trigger *triggers.Definition
	// Whole tells that the handler calls its function once for all messages.
	Whole bool
	// Open returns the handler. It is called when Run starts, and may ask the
	// database about the table.
	Open func(ctx context.Context, db *gorm.DB, log *slog.Logger) (Handler, error)
}

// Handler splits messages into events and gives them to deliver, in order, until
// that returns false. A broadcast comes alone and may hold several events; the
// queue's messages hold one each. It runs in one goroutine, or several with
// Concurrency.
type Handler func(ctx context.Context, messages []Message, deliver Deliver)

// Deliver calls the declared function for an event of messages[which], or for
// the events of all messages that were not delivered yet when which is All; or it
// records that messages[which] could not be decoded, when err isn't nil. It
// returns when the call is done, and whether to go on.
type Deliver func(which int, call Call, err error) bool

// All stands for all messages.
const All = -1

// Call calls the declared function with what was decoded.
type Call func(ctx context.Context, tx *gorm.DB) error

// Declaration is what Declare takes.
type Declaration struct {
	// Name is used when no Name option is given.
	Name string
	// Anonymous tells that the name is made from a place in a file. It is no name
	// for a durable subscription, whose events outlive the next edit.
	Anonymous bool
	// Site is where the declaration stands.
	Site string
	// Bind resolves the declaration for a database.
	Bind func(*gorm.DB) (Binding, error)
}

// Declare registers a subscription. It is the ground on which package hooks
// and Channel.Listen stand; applications use those.
//
// It panics, naming the places, when an option is wrong or the name is taken,
// since both are mistakes in the program's text.
func Declare(d Declaration, opts ...Option) {
	s := newSettings(opts)
	if s.problem != nil {
		panic(fmt.Sprintf("pubsub: listener declared at %s: %v", d.Site, s.problem))
	}
	if s.name == "" {
		if d.Anonymous && !s.broadcast {
			panic(fmt.Sprintf("pubsub: listener declared at %s: a function literal has no name that lasts, and a durable subscription needs one: add Name(…), or use a named function", d.Site))
		}
		s.name = d.Name
	}
	sub := &Subscription{name: s.name, site: d.Site, bind: d.Bind, settings: s}
	s.registry.add(sub)
}

func (r *Registry) add(sub *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.subs {
		if other.name == sub.name {
			panic(fmt.Sprintf("pubsub: two listeners are named %q, declared at %s and at %s: give one of them another name with Name(…)",
				sub.name, other.site, sub.site))
		}
	}
	r.subs = append(r.subs, sub)
}

func (r *Registry) addChannel(c declared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.channels {
		if other.name == c.name {
			panic(fmt.Sprintf("pubsub: the channel %q is declared at %s and at %s: declare it once and share the variable",
				c.name, other.site, c.site))
		}
	}
	r.channels = append(r.channels, c)
}

// Subscriptions returns the declared subscriptions in the order of their
// declaration.
func (r *Registry) Subscriptions() []*Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.subs)
}

// Empty reports whether nothing is declared.
func (r *Registry) Empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.subs)+len(r.channels) == 0
}

// Channels returns the names of the typed channels and where they are declared.
func (r *Registry) Channels() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	places := make(map[string]string, len(r.channels))
	for _, c := range r.channels {
		places[c.name] = c.site
	}
	return places
}
