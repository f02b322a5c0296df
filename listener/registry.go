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
	problem    error
}

// DefaultRegistry holds the declarations that name no other. Declarations
// usually stand in package variables and init functions; give tests, and
// programs with several databases, registries of their own.
var DefaultRegistry = &Registry{}

// Subscription is a declared function on a channel.
type Subscription struct {
	name string
	site string
	bind func(*gorm.DB) (Binding, error)
	settings
}

// Name returns the subscription's name, which is unique in its registry.
func (s *Subscription) Name() string { return s.name }

// Site returns where the subscription was declared, as "folder/file.go:12".
func (s *Subscription) Site() string { return s.site }

// Bind resolves the subscription for a database: its channel, its trigger and
// how to open its handler.
func (s *Subscription) Bind(db *gorm.DB) (Binding, error) {
	if !s.broadcast {
		return Binding{}, fmt.Errorf("listener %q (declared at %s): %w", s.name, s.site, ErrDurable)
	}
	b, err := s.bind(db)
	if err != nil {
		return Binding{}, fmt.Errorf("listener %q (declared at %s): %w", s.name, s.site, err)
	}
	return b, nil
}

// Binding is a subscription as one database sees it.
type Binding struct {
	// Channel is the notification channel.
	Channel string
	// Trigger is what publishes on the channel; nil when the application does.
	Trigger *triggers.Definition
	// Open returns the handler. It is called when Run starts, and may ask the
	// database about the table.
	Open func(ctx context.Context, db *gorm.DB, log *slog.Logger) (Handler, error)
}

// Handler splits a message into events and gives each to deliver, in order. It
// runs in one goroutine, or several with Concurrency. ctx ends with Run.
type Handler func(ctx context.Context, m Message, deliver Deliver)

// Deliver calls the declared function for one event, or records that the event
// could not be decoded when err isn't nil. It returns when the call is done.
type Deliver func(call func(ctx context.Context, tx *gorm.DB) error, err error)

// Declaration is what Declare takes.
type Declaration struct {
	// Name is used when no Name option is given.
	Name string
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

// ChannelProblems returns what is wrong with the declared typed channels.
func (r *Registry) ChannelProblems() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var problems []error
	for _, c := range r.channels {
		if c.problem != nil {
			problems = append(problems, fmt.Errorf("channel %q (declared at %s): %w", c.name, c.site, c.problem))
		}
	}
	return problems
}
