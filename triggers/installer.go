package triggers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// DefaultSchema is the schema of our own tables and functions.
const DefaultSchema = "pubsub"

// Installer installs definitions into a database. The zero value works.
//
// The methods take a *gorm.DB and run on its connection pool or in its
// transaction. They block on other processes that migrate at the same time.
type Installer struct {
	// Schema holds our own tables and functions. Two installers with different
	// schemas know nothing of each other's triggers. Defaults to "pubsub".
	Schema string
	// LockTimeout bounds the wait for a table's lock (SHARE ROW EXCLUSIVE,
	// which waits for running writers and makes new ones wait). A lock that
	// isn't had in that time is tried again up to nine times. Defaults to 1
	// second.
	LockTimeout time.Duration
}

const (
	defaultLockTimeout = time.Second
	lockAttempts       = 10
)

func (in Installer) schema() string {
	if in.Schema == "" {
		return DefaultSchema
	}
	return in.Schema
}

func (in Installer) lockTimeout() time.Duration {
	if in.LockTimeout <= 0 {
		return defaultLockTimeout
	}
	return in.LockTimeout
}

// Plan compares the definitions with the database. It changes nothing.
func (in Installer) Plan(ctx context.Context, db *gorm.DB, defs []Definition) (Plan, error) {
	return in.plan(ctx, plain.Pool(db), defs)
}

func (in Installer) plan(ctx context.Context, p gorm.ConnPool, defs []Definition) (Plan, error) {
	defs, err := distinct(defs)
	if err != nil {
		return Plan{}, err
	}
	if defs, err = in.withModes(ctx, p, defs); err != nil {
		return Plan{}, err
	}
	var want []trigger
	var problems []error
	for _, d := range defs {
		t, err := inspect(ctx, p, d)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		want = append(want, render(in.schema(), d, t)...)
	}
	if err := errors.Join(problems...); err != nil {
		return Plan{}, err
	}
	have, err := readInstalled(ctx, p, in.schema())
	if err != nil {
		return Plan{}, err
	}
	plan := compare(want, have)
	plan.Schema = in.schema()
	// A condition that fits no more, since a column went, is no difference of
	// the trigger.
	for i, item := range plan.Items {
		if item.State != Current || item.when == "" {
			continue
		}
		if err := in.checkWhen(ctx, p, item); err != nil {
			if _, running := p.(gorm.TxCommitter); running {
				return Plan{}, err // the transaction is broken
			}
			plan.Items[i].State, plan.Items[i].Reason = Outdated, err.Error()
		}
	}
	return plan, nil
}

// Apply installs what Plan finds missing or outdated, and returns the plan
// that it carried out. It leaves everything else alone, orphans too: see Prune.
// Outside a transaction of the caller's each table is done in one of its own,
// so that a failure leaves the tables before it done.
func (in Installer) Apply(ctx context.Context, db *gorm.DB, defs []Definition) (Plan, error) {
	plan, err := in.Plan(ctx, db, defs)
	if err != nil {
		return Plan{}, err
	}
	if err := in.mayStore(ctx, plain.Pool(db), plan); err != nil {
		return plan, err
	}
	for _, items := range byTable(plan.Todo()) {
		if err := in.retry(ctx, db, func(tx gorm.ConnPool) error {
			return in.install(ctx, tx, defs, items[0].Table)
		}); err != nil {
			return plan, fmt.Errorf("install the triggers of table %s: %w", items[0].Table, err)
		}
	}
	return plan, nil
}

// mayStore reports whether the role that is about to own trigger functions has the
// rights that they need: without, every write would fail.
func (in Installer) mayStore(ctx context.Context, p gorm.ConnPool, plan Plan) error {
	if !slices.ContainsFunc(plan.Todo(), func(i Item) bool { return i.durable }) {
		return nil
	}
	var may bool
	err := p.QueryRowContext(ctx, `SELECT pg_catalog.has_table_privilege($1, 'INSERT') AND pg_catalog.has_table_privilege($2, 'SELECT')
AND pg_catalog.has_function_privilege($3, 'EXECUTE') AND pg_catalog.has_function_privilege($4, 'EXECUTE')`,
		quote(in.schema(), "event"), quote(in.schema(), "subscription"),
		quote(in.schema(), "json_of")+"(record)", quote(in.schema(), "json_pair")+"(record, record)").Scan(&may)
	if err != nil {
		return fmt.Errorf("look at the rights on schema %s: %w", quote(in.schema()), err)
	}
	if !may {
		return fmt.Errorf("the role that migrates may not write to %s, which its trigger functions have to: migrate as the role that owns schema %s",
			quote(in.schema(), "event"), quote(in.schema()))
	}
	return nil
}

// install installs what one table lacks. It looks again under the lock, since
// another process may have been first.
func (in Installer) install(ctx context.Context, tx gorm.ConnPool, defs []Definition, table string) error {
	if err := lock(ctx, tx, in.schema()); err != nil {
		return err
	}
	plan, err := in.plan(ctx, tx, defs)
	if err != nil {
		return err
	}
	for _, item := range plan.Todo() {
		if item.Table != table {
			continue
		}
		if err := in.checkWhen(ctx, tx, item); err != nil {
			return err
		}
		for _, statement := range item.create {
			if err := in.locked(ctx, tx, statement); err != nil {
				return fmt.Errorf("channel %q (declared at %s): %w", item.Channel, item.Site, err)
			}
		}
	}
	return nil
}

// checkWhen plans the condition as the function will see it, so that a mistake
// in it is an error here and not a warning at every write.
func (in Installer) checkWhen(ctx context.Context, tx gorm.ConnPool, item Item) error {
	if item.when == "" {
		return nil
	}
	script := fmt.Sprintf(`
#variable_conflict use_column
DECLARE
  tg_op text;
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp;
  SET LOCAL lock_timeout = %[3]d;
  PERFORM FROM %[1]s AS old, %[1]s AS new WHERE (
%[2]s
) IS TRUE LIMIT 0;
END
`, item.Table, item.when, in.lockTimeout().Milliseconds())
	tag := dollar(script)
	return keeping(ctx, tx, "search_path", func() error {
		return keeping(ctx, tx, "lock_timeout", func() error {
			_, err := tx.ExecContext(ctx, "DO "+tag+script+tag)
			if err == nil || waited(err) {
				return err
			}
			return fmt.Errorf("the condition of channel %q (declared at %s) is no SQL condition over OLD and NEW, or uses names outside pg_catalog without their schema: %w",
				item.Channel, item.Site, err)
		})
	})
}

// Verify returns an ErrDrift that lists what is missing, outdated or disabled,
// ErrNotMigrated when our own tables are, and nil when every definition is in
// force and every subscription recorded. An orphan is drift only when it publishes on a channel that is defined
// for another table.
func (in Installer) Verify(ctx context.Context, db *gorm.DB, defs []Definition, subs ...Subscription) error {
	if err := in.Migrated(ctx, db); err != nil {
		return err
	}
	plan, err := in.Plan(ctx, db, defs)
	if err != nil {
		return err
	}
	var differences []string
	for _, item := range append(plan.in(Missing, Outdated, Disabled), plan.Strays()...) {
		differences = append(differences, item.String())
	}
	todo, err := in.unsubscribed(ctx, plain.Pool(db), subs)
	if err != nil {
		return err
	}
	for _, s := range todo {
		differences = append(differences, fmt.Sprintf("missing: subscription %q on channel %q", s.Name, s.Channel))
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w:\n%s", ErrDrift, strings.Join(differences, "\n"))
	}
	return nil
}

// Prune drops the triggers that an Installer with this schema made and that no
// definition asks for, with their functions, and functions whose tables are
// gone. It returns the triggers. Another application that shares the
// schema would lose its own: give each application a schema then.
func (in Installer) Prune(ctx context.Context, db *gorm.DB, defs []Definition) ([]Item, error) {
	plan, err := in.Plan(ctx, db, defs)
	if err != nil {
		return nil, err
	}
	orphans := plan.Orphans()
	for _, items := range byTable(orphans) {
		if err := in.retry(ctx, db, func(tx gorm.ConnPool) error {
			if err := lock(ctx, tx, in.schema()); err != nil {
				return err
			}
			for _, item := range items {
				if err := in.locked(ctx, tx, fmt.Sprintf("DROP TRIGGER IF EXISTS %s ON %s", quote(item.Trigger), item.Table)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("drop the orphaned triggers of table %s: %w", items[0].Table, err)
		}
	}
	return orphans, in.pruneFunctions(ctx, db)
}

// pruneFunctions drops our trigger functions that no trigger calls, which is
// what a dropped table leaves.
func (in Installer) pruneFunctions(ctx context.Context, db *gorm.DB) error {
	if names, err := unusedFunctions(ctx, plain.Pool(db), in.schema()); err != nil || len(names) == 0 {
		return err
	}
	return within(ctx, db, func(tx gorm.ConnPool) error {
		if err := lock(ctx, tx, in.schema()); err != nil {
			return err
		}
		names, err := unusedFunctions(ctx, tx, in.schema())
		if err != nil {
			return err
		}
		for _, name := range names {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("DROP FUNCTION IF EXISTS %s()", quote(in.schema(), name))); err != nil {
				return fmt.Errorf("drop the unused function %s: %w", quote(in.schema(), name), err)
			}
		}
		return nil
	})
}

// Enable switches the channel's triggers on again after Disable.
func (in Installer) Enable(ctx context.Context, db *gorm.DB, defs []Definition, channel string) error {
	return in.alter(ctx, db, defs, channel, "ENABLE")
}

// Disable switches the channel's triggers off for all writers, until Enable.
// Neither Apply nor Migrate switches them on again.
func (in Installer) Disable(ctx context.Context, db *gorm.DB, defs []Definition, channel string) error {
	return in.alter(ctx, db, defs, channel, "DISABLE")
}

func (in Installer) alter(ctx context.Context, db *gorm.DB, defs []Definition, channel, verb string) error {
	plan, err := in.Plan(ctx, db, defs)
	if err != nil {
		return err
	}
	known := false
	for _, item := range plan.in(Current, Disabled, Outdated, Missing) {
		if item.Channel != channel {
			continue
		}
		known = true
		statement := fmt.Sprintf("ALTER TABLE %s %s TRIGGER %s", item.Table, verb, quote(item.Trigger))
		if err := in.retry(ctx, db, func(tx gorm.ConnPool) error { return in.locked(ctx, tx, statement) }); err != nil {
			return fmt.Errorf("channel %q: %w", channel, err)
		}
	}
	if !known {
		return fmt.Errorf("%w %q", ErrUnknownChannel, channel)
	}
	return nil
}

// byTable groups the items, which are sorted, by their tables.
func byTable(items []Item) [][]Item {
	var groups [][]Item
	for _, item := range items {
		if n := len(groups); n > 0 && groups[n-1][0].Table == item.Table {
			groups[n-1] = append(groups[n-1], item)
			continue
		}
		groups = append(groups, []Item{item})
	}
	return groups
}
