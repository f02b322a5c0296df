package triggers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// table is what the catalog says of a definition's table.
type table struct {
	oid          uint32
	schema, name string
	kind         string          // pg_class.relkind
	inherits     bool            // a partition or an inheritance child
	risky        bool            // a column's type may have a cast to json, which may fail
	expands      bool            // a column may hold many numbers that print as far more than they take
	pins         map[string]bool // the settings that change how its rows print as JSON; "all" when one can't tell
	columns      map[string]column
}

type column struct {
	// comparable tells that pg_catalog has an equality for the type that
	// means what a reader expects; other types are compared as text.
	comparable bool
	kind       string // the type as SQL writes it
}

func (t table) quoted() string { return quote(t.schema, t.name) }

// perRow tells that the table needs row-level triggers. A statement-level one
// fires for the table that a statement names and no other, so that it would
// miss a write to a partition, or to this table through its parent; a foreign
// table has no transition tables.
func (t table) perRow() bool { return t.kind != "r" || t.inherits }

// shape identifies the table's columns and their types. It stands in functions
// whose cached expressions depend on them, so that a change replaces them.
func (t table) shape() string {
	names := slices.Sorted(maps.Keys(t.columns))
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%q %q\n", name, t.columns[name].kind)
	}
	return Digest(b.String())
}

// inspectSQL reads one table. A missing one has no row.
// JSON has dates and times in ISO style always, and a timestamptz with its offset
// (src/backend/utils/adt/json.c, JsonEncodeDateTime).
// The comparable types are those whose equality is the one that a reader of
// the text expects; domains stand for their base types.
const inspectSQL = `
SELECT c.oid, n.nspname, c.relname, c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid),
       a.attname,
       COALESCE(t.typtype = 'e' OR t.oid = ANY (ARRAY[
         'bool','int2','int4','int8','float4','float8','numeric','text','varchar','bpchar','name','date',
         'time','timetz','timestamp','timestamptz','uuid','bytea','inet','cidr','macaddr','oid','jsonb'
       ]::pg_catalog.regtype[]::pg_catalog.oid[]), false),
       COALESCE(pg_catalog.format_type(a.atttypid, a.atttypmod), ''),
       COALESCE(t.typtype <> 'e' AND t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
         AND (t.typelem = 0 OR e.typtype <> 'e' AND e.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace), false),
       CASE WHEN t.typtype = 'e' OR t.oid = ANY (ARRAY[
           'bool','int2','int4','int8','numeric','text','varchar','bpchar','name','uuid','json','jsonb',
           'date','time','timetz','timestamp','timestamptz'
         ]::pg_catalog.regtype[]::pg_catalog.oid[]) THEN ''
         WHEN t.oid IN ('float4'::pg_catalog.regtype, 'float8'::pg_catalog.regtype) THEN 'extra_float_digits'
         WHEN t.oid = 'bytea'::pg_catalog.regtype THEN 'bytea_output'
         WHEN t.oid = 'interval'::pg_catalog.regtype THEN 'IntervalStyle'
         WHEN t.oid IS NULL THEN '' ELSE 'all' END,
       COALESCE(t.oid = ANY (ARRAY['jsonb','jsonb[]','numeric[]','nummultirange']::pg_catalog.regtype[]::pg_catalog.oid[]), false)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
WHERE c.oid = pg_catalog.to_regclass($1)`

// inspect reads the definition's table from the catalog.
func inspect(ctx context.Context, pool gorm.ConnPool, d Definition) (table, error) {
	rows, err := pool.QueryContext(ctx, inspectSQL, d.Table)
	if err != nil {
		return table{}, d.errorf("look up the table: %w", err)
	}
	defer func() { _ = rows.Close() }()
	t := table{columns: map[string]column{}, pins: map[string]bool{}}
	for rows.Next() {
		var attribute sql.NullString
		var c column
		var risky, expands bool
		var pin string
		if err := rows.Scan(&t.oid, &t.schema, &t.name, &t.kind, &t.inherits, &attribute, &c.comparable, &c.kind, &risky, &pin, &expands); err != nil {
			return table{}, d.errorf("look up the table: %w", err)
		}
		t.risky, t.expands = t.risky || risky, t.expands || expands
		if pin != "" {
			t.pins[pin] = true
		}
		if attribute.Valid {
			t.columns[attribute.String] = c
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return table{}, d.errorf("look up the table: %w", err)
	}
	if t.oid == 0 {
		return table{}, d.errorf("%w: create it (AutoMigrate or your migrations) before the triggers", ErrNoTable)
	}
	return t, t.accepts(d)
}

// accepts reports why the table can't carry the definition.
func (t table) accepts(d Definition) error {
	switch t.kind {
	case "r", "p":
	case "f":
		if d.Ops.Has(Truncate) {
			return d.errorf("a foreign table has no truncate trigger on every version of Postgres")
		}
	default:
		return d.errorf("%s is a %s; declare the listener on the table behind it", t.quoted(), relkind(t.kind))
	}
	for _, name := range d.Columns {
		if _, ok := t.columns[name]; !ok {
			return d.errorf("table %s has no column %q", t.quoted(), name)
		}
	}
	return nil
}

func relkind(kind string) string {
	switch kind {
	case "v":
		return "view"
	case "m":
		return "materialized view"
	}
	return fmt.Sprintf("relation of kind %q", kind)
}
