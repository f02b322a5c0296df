package triggers

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

//go:embed migrations/*.sql
var migrations embed.FS

type migration struct {
	version int
	name    string
	sql     string
}

// load returns the embedded migrations in the order of their versions, for the
// named schema.
func load(schema string) ([]migration, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]migration, 0, len(files))
	for _, file := range files {
		text, err := migrations.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no version: %w", file, err)
		}
		quoted := quote(schema)
		all = append(all, migration{version: version, name: name, sql: strings.NewReplacer(
			"$pubsub$", dollar(quoted),
			"{{schema_literal}}", strings.ReplaceAll(quoted, "'", "''"),
			"{{schema}}", quoted,
			"{{wake_literal}}", plain.Literal(Wire(schema, Wake)),
			"{{gate}}", strconv.Itoa(Gate),
			"{{order}}", strconv.Itoa(Order),
			"{{numbers}}", strconv.Itoa(Numbers),
		).Replace(string(text))})
	}
	return all, nil
}

// Migrate brings our own tables and functions up to date, in the Installer's
// schema, which it creates. It is idempotent, safe from many processes at once
// and on a live system, and takes no lock when nothing is to do. In a
// transaction of the caller's it becomes part of it. A database that a newer
// version has migrated already is left as it is.
func (in Installer) Migrate(ctx context.Context, db *gorm.DB) error {
	all, err := load(in.schema())
	if err != nil {
		return err
	}
	last := all[len(all)-1].version
	current, err := in.version(ctx, plain.Pool(db))
	if err != nil || current >= last {
		return err
	}
	return within(ctx, db, func(tx gorm.ConnPool) error {
		if err := lock(ctx, tx, in.schema()); err != nil {
			return err
		}
		current, err := in.version(ctx, tx)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.version <= current {
				continue
			}
			if err := in.migrate(ctx, tx, m); err != nil {
				return fmt.Errorf("migration %s of schema %s: %w", m.name, quote(in.schema()), err)
			}
		}
		return nil
	})
}

// Migrated returns ErrNotMigrated when Migrate has something to do.
func (in Installer) Migrated(ctx context.Context, db *gorm.DB) error {
	all, err := load(in.schema())
	if err != nil {
		return err
	}
	current, err := in.version(ctx, plain.Pool(db))
	if err != nil {
		return err
	}
	if last := all[len(all)-1].version; current < last {
		return fmt.Errorf("%w (schema %s has version %d of %d)", ErrNotMigrated, quote(in.schema()), current, last)
	}
	return nil
}

// migrate runs one migration and records it.
func (in Installer) migrate(ctx context.Context, tx gorm.ConnPool, m migration) error {
	for _, statement := range in.script(m) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// script returns what a migration runs.
func (in Installer) script(m migration) []string {
	record := fmt.Sprintf("INSERT INTO %s (version, name) VALUES (%d, %s) ON CONFLICT DO NOTHING;", in.migrationTable(), m.version, plain.Literal(m.name))
	return []string{in.bootstrap(), m.sql, record}
}

// SQL returns what Migrate, Subscribe and Apply would run, as a script for another
// migration tool, and changes nothing. It is empty when nothing is to do. The
// tables of the definitions must exist, since their shape decides about their
// triggers.
func (in Installer) SQL(ctx context.Context, db *gorm.DB, defs []Definition, subs ...Subscription) (string, error) {
	all, err := load(in.schema())
	if err != nil {
		return "", err
	}
	current, err := in.version(ctx, plain.Pool(db))
	if err != nil {
		return "", err
	}
	plan, err := in.Plan(ctx, db, defs)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, m := range all {
		if m.version > current {
			fmt.Fprintf(&b, "-- tables and functions of schema %s: %s\n%s\n\n", quote(in.schema()), m.name, strings.Join(in.script(m), "\n"))
		}
	}
	todo, err := in.unsubscribed(ctx, plain.Pool(db), subs)
	if err != nil {
		return "", err
	}
	if len(todo) > 0 {
		fmt.Fprintf(&b, "-- subscriptions\n%s;\n\n", strings.Join(in.subscribe(todo), ";\n\n"))
	}
	b.WriteString(plan.SQL())
	return b.String(), nil
}

// bootstrap creates the schema and the table of migrations. A schema that is
// there already is not asked for: CREATE needs a right on the database that
// its owner may have kept to themselves.
func (in Installer) bootstrap() string {
	tag := dollar(quote(in.schema()))
	return fmt.Sprintf(`DO `+tag+`
BEGIN
  IF pg_catalog.to_regnamespace(%s) IS NULL THEN
    CREATE SCHEMA %s;
  END IF;
END
`+tag+`;
CREATE TABLE IF NOT EXISTS %s (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);`, plain.Literal(quote(in.schema())), quote(in.schema()), in.migrationTable())
}

func (in Installer) migrationTable() string { return quote(in.schema(), "migration") }

// version returns the last migration that the database has, 0 for none. It asks
// the catalog's tables: to_regclass may answer from what this session knew
// before it waited for another process.
func (in Installer) version(ctx context.Context, p gorm.ConnPool) (int, error) {
	var exists bool
	err := p.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'migration')`, in.schema()).Scan(&exists)
	if err != nil {
		return 0, fmt.Errorf("look for schema %s: %w", quote(in.schema()), err)
	}
	if !exists {
		return 0, nil
	}
	var version int
	err = p.QueryRowContext(ctx, "SELECT COALESCE(max(version), 0) FROM "+in.migrationTable()).Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read the version of schema %s: %w", quote(in.schema()), err)
	}
	return version, nil
}
