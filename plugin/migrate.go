package pubsub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Migrate brings the plugin's own tables and the triggers of all declarations
// up to date. It is idempotent and safe from many processes at once; what is
// up to date is not touched. Triggers that nothing declares any more stay: see
// Prune.
//
// It returns an error that names the declaration when its table does not exist
// (triggers.ErrNoTable), lacks a column, or can't carry triggers, when its
// condition is wrong, and when a table stays locked.
func (p *Plugin) Migrate(ctx context.Context) error {
	db, defs, subs, err := p.use()
	if err != nil {
		return err
	}
	return p.install(ctx, db, defs, subs)
}

// install migrates our tables, and then the subscriptions and the triggers, with db's connection, and
// tells the listening processes that tables may have changed.
func (p *Plugin) install(ctx context.Context, db *gorm.DB, defs []triggers.Definition, subs []triggers.Subscription) error {
	if err := p.installer.Migrate(ctx, db); err != nil {
		return err
	}
	if err := p.installer.Subscribe(ctx, db, subs); err != nil {
		return err
	}
	if _, err := p.installer.Apply(ctx, db, defs); err != nil {
		return err
	}
	reload := triggers.Wire(p.installer.Schema, triggers.Reload)
	if _, err := db.Statement.ConnPool.ExecContext(ctx, "SELECT pg_catalog.pg_notify($1, '')", reload); err != nil {
		return fmt.Errorf("tell listening processes of the migration: %w", err)
	}
	return nil
}

// Plan compares the declared triggers with the database. It changes nothing.
func (p *Plugin) Plan(ctx context.Context) (triggers.Plan, error) {
	db, defs, _, err := p.use()
	if err != nil {
		return triggers.Plan{}, err
	}
	return p.installer.Plan(ctx, db, defs)
}

// SQL returns what Migrate would run, as a script for another migration tool,
// and changes nothing. It is empty when nothing is to do.
func (p *Plugin) SQL(ctx context.Context) (string, error) {
	db, defs, subs, err := p.use()
	if err != nil {
		return "", err
	}
	return p.installer.SQL(ctx, db, defs, subs...)
}

// Verify returns a triggers.ErrDrift that lists what is missing, outdated or
// disabled, triggers.ErrNotMigrated when the plugin's own tables are, and nil when every declaration is in force.
func (p *Plugin) Verify(ctx context.Context) error {
	db, defs, subs, err := p.use()
	if err != nil {
		return err
	}
	return p.installer.Verify(ctx, db, defs, subs...)
}

// Prune drops the triggers in the plugin's schema that nothing declares, with
// their functions, and returns them. Another application that shares the
// schema would lose its own.
func (p *Plugin) Prune(ctx context.Context) ([]triggers.Item, error) {
	db, defs, _, err := p.use()
	if err != nil {
		return nil, err
	}
	return p.installer.Prune(ctx, db, defs)
}

// PruneSubscriptions removes the subscriptions that nothing declares, with the
// events that wait for them, and returns their state at that moment. Another
// application that shares the schema would lose its own.
func (p *Plugin) PruneSubscriptions(ctx context.Context) ([]listener.Status, error) {
	db, defs, subs, err := p.use()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(subs))
	for i, s := range subs {
		names[i] = s.Name
	}
	pruned, err := listener.NewQueue(plain.Pool(db), p.installer.Schema).Prune(ctx, names)
	if err != nil || len(pruned) == 0 {
		return pruned, err
	}
	return pruned, p.install(ctx, db, defs, subs) // triggers may have less to do
}

// Enable switches the channel's triggers on again after Disable.
func (p *Plugin) Enable(ctx context.Context, channel string) error {
	db, defs, _, err := p.use()
	if err != nil {
		return err
	}
	return p.installer.Enable(ctx, db, defs, channel)
}

// Disable switches the channel's triggers off for all writers until Enable;
// Migrate leaves them off.
func (p *Plugin) Disable(ctx context.Context, channel string) error {
	db, defs, _, err := p.use()
	if err != nil {
		return err
	}
	return p.installer.Disable(ctx, db, defs, channel)
}

// Listeners returns the sessions of all processes that listen on the channel
// at this moment.
func (p *Plugin) Listeners(ctx context.Context, channel string) ([]listener.Presence, error) {
	db, _, _, err := p.use()
	if err != nil {
		return nil, err
	}
	return listener.Listeners(ctx, db, triggers.Wire(p.installer.Schema, channel))
}

// Channels returns what Listen can be asked for: the channels that have a
// declared function, sorted.
func (p *Plugin) Channels() ([]string, error) {
	db, _, _, err := p.use()
	if err != nil {
		return nil, err
	}
	var channels []string
	for _, sub := range p.registry.Subscriptions() {
		b, err := sub.Bind(db)
		if err != nil {
			return nil, err
		}
		channels = append(channels, b.Channel)
	}
	slices.Sort(channels)
	return slices.Compact(channels), nil
}

// installFor installs the triggers of the tables that a migrator has just
// migrated, on that migrator's connection, and our own tables.
func (p *Plugin) installFor(db *gorm.DB, tables []string) error {
	_, defs, subs, err := p.use()
	if err != nil {
		return err
	}
	if p.registry.Empty() {
		return nil
	}
	elsewhere := map[string]bool{} // channels of tables that are not being migrated
	defs = slices.DeleteFunc(defs, func(d triggers.Definition) bool {
		other := !slices.Contains(tables, d.Table)
		elsewhere[d.Channel] = other
		return other
	})
	subs = slices.DeleteFunc(subs, func(s triggers.Subscription) bool { return elsewhere[s.Channel] })
	ctx := db.Statement.Context
	if !db.DryRun {
		return p.install(ctx, db, defs, subs)
	}
	script, err := p.installer.SQL(ctx, db, defs, subs...)
	if err != nil {
		script = fmt.Sprintf("-- the triggers can't be shown yet: %s", strings.ReplaceAll(err.Error(), "\n", "\n-- "))
	}
	if script != "" {
		fmt.Println(script) // where GORM's migrator prints in a dry run
	}
	return nil
}
