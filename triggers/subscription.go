package triggers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// Subscription is a function that is declared on a channel, as the database
// keeps it: an event is stored for each durable subscription that is there when
// it happens, whether or not anybody is listening.
type Subscription struct {
	// Name is unique in the schema.
	Name string
	// Channel is where its events come from.
	Channel string
	// Broadcast tells that it gets notifications, and that nothing is stored
	// for it.
	Broadcast bool
	// Ordered tells that its events keep their order for each primary key.
	Ordered bool
}

// Subscribe brings the subscriptions in the database up to date. What is
// otherwise there is left alone. It writes nothing when nothing is to do.
func (in Installer) Subscribe(ctx context.Context, db *gorm.DB, subs []Subscription) error {
	todo, err := in.unsubscribed(ctx, plain.Pool(db), subs)
	if err != nil || len(todo) == 0 {
		return err
	}
	for _, statement := range in.subscribe(todo) {
		if _, err := plain.Pool(db).ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("record the subscriptions: %w", err)
		}
	}
	return nil
}

// unsubscribed returns those of the subscriptions that the database doesn't
// have as they are declared.
func (in Installer) unsubscribed(ctx context.Context, p gorm.ConnPool, subs []Subscription) ([]Subscription, error) {
	have, err := in.subscriptions(ctx, p)
	if err != nil {
		return nil, err
	}
	var todo []Subscription
	for _, s := range subs {
		if have[s.Name] != s {
			todo = append(todo, s)
		}
	}
	return todo, nil
}

// subscriptions reads all of them, none when our tables aren't there yet.
func (in Installer) subscriptions(ctx context.Context, p gorm.ConnPool) (map[string]Subscription, error) {
	all := map[string]Subscription{}
	var exists bool
	if err := p.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'subscription')`, in.schema()).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for schema %s: %w", quote(in.schema()), err)
	}
	if !exists {
		return all, nil
	}
	rows, err := p.QueryContext(ctx, "SELECT name, channel, broadcast, ordered FROM "+quote(in.schema(), "subscription"))
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s Subscription
		if err := rows.Scan(&s.Name, &s.Channel, &s.Broadcast, &s.Ordered); err != nil {
			return nil, fmt.Errorf("read the subscriptions: %w", err)
		}
		all[s.Name] = s
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	return all, nil
}

// subscribe renders the statements that record the subscriptions.
func (in Installer) subscribe(subs []Subscription) []string {
	values, ordered := make([]string, len(subs)), false
	for i, s := range subs {
		values[i] = fmt.Sprintf("(%s, %s, %t, %t)", plain.Literal(s.Name), plain.Literal(s.Channel), s.Broadcast, s.Ordered)
		ordered = ordered || s.Ordered
	}
	statements := []string{fmt.Sprintf(`INSERT INTO %s (name, channel, broadcast, ordered) VALUES
  %s
ON CONFLICT (name) DO UPDATE SET channel = excluded.channel, broadcast = excluded.broadcast, ordered = excluded.ordered`,
		quote(in.schema(), "subscription"), strings.Join(values, ",\n  "))}
	if ordered {
		statements = append(statements, GiveKeys(in.schema())...)
	}
	return statements
}

// GiveKeys renders the statements that give a key to the ready events of ordered
// subscriptions that were stored before those were: they share one.
func GiveKeys(schema string) []string {
	event, subscription := quote(schema, "event"), quote(schema, "subscription")
	return []string{
		fmt.Sprintf(`SELECT %s(s.id, p.packets) FROM %s AS s
CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(e.id) AS packets FROM %s AS e WHERE e.subscription_id = s.id AND e.run_at IS NULL AND e.packed IS NOT NULL) AS p
WHERE s.ordered AND NOT s.broadcast AND p.packets IS NOT NULL`, quote(schema, "unpack"), subscription, event),
		fmt.Sprintf(`UPDATE %s SET key = 0 WHERE run_at IS NULL AND key IS NULL AND packed IS NULL
  AND subscription_id IN (SELECT id FROM %s WHERE ordered AND NOT broadcast)`, event, subscription),
	}
}

// withModes adds the modes that subscriptions in the database have to the
// definitions of their channels. So a process whose declarations are older than
// another's doesn't take away what that one needs.
func (in Installer) withModes(ctx context.Context, p gorm.ConnPool, defs []Definition) ([]Definition, error) {
	subs, err := in.subscriptions(ctx, p)
	if err != nil {
		return nil, err
	}
	for i := range defs {
		d := &defs[i]
		if !d.Durable && !d.Broadcast {
			d.Broadcast = true
		}
		for _, s := range subs {
			if s.Channel == d.Channel {
				d.Durable, d.Broadcast, d.Ordered = d.Durable || !s.Broadcast, d.Broadcast || s.Broadcast, d.Ordered || s.Ordered
			}
		}
	}
	return defs, nil
}
