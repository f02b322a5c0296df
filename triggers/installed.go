package triggers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// installed is a trigger as the catalog has it.
type installed struct {
	tableOID uint32
	table    string // quoted, with its schema
	name     string
	kind     int16 // pg_trigger.tgtype
	enabled  string
	oldTable string
	newTable string
	plain    bool // no WHEN, no columns, no arguments, no constraint
	comment  string
	function string
	source   string
	definer  bool
	language string
	settings string // pg_proc.proconfig, a line each
	public   bool   // anybody may execute the function
}

// The bits of pg_trigger.tgtype (src/include/catalog/pg_trigger.h).
const (
	bitRow      = 1 << 0
	bitInsert   = 1 << 2
	bitDelete   = 1 << 3
	bitUpdate   = 1 << 4
	bitTruncate = 1 << 5
)

var opBits = map[Op]int16{Insert: bitInsert, Delete: bitDelete, Update: bitUpdate, Truncate: bitTruncate}

func (h installed) op() Op {
	var ops Op
	for op, bit := range opBits {
		if h.kind&bit != 0 {
			ops |= op
		}
	}
	return ops
}

// ours reports whether the trigger was made by an Installer, and for which
// channel.
func (h installed) ours() (channel string, ok bool) {
	rest, ok := strings.CutPrefix(h.comment, commentPrefix)
	if !ok {
		return "", false
	}
	_, channel, _ = strings.Cut(rest, " ")
	return channel, true
}

// installedSQL lists the triggers whose functions are in our schema. A
// partition's copy of its parent's trigger is not one of its own.
const installedSQL = `
SELECT t.tgrelid, n.nspname, c.relname, t.tgname, t.tgtype, t.tgenabled::text,
       COALESCE(t.tgoldtable, ''), COALESCE(t.tgnewtable, ''),
       t.tgqual IS NULL AND t.tgnargs = 0 AND t.tgattr = '' AND t.tgconstraint = 0,
       COALESCE(pg_catalog.obj_description(t.oid, 'pg_trigger'), ''),
       p.proname, p.prosrc, p.prosecdef, l.lanname,
       COALESCE(pg_catalog.array_to_string(p.proconfig, pg_catalog.chr(10)), ''),
       EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) a WHERE a.grantee = 0)
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE f.nspname = $1 AND NOT t.tgisinternal AND t.tgparentid = 0`

// readInstalled reads our triggers from the catalog.
func readInstalled(ctx context.Context, p gorm.ConnPool, schema string) ([]installed, error) {
	rows, err := p.QueryContext(ctx, installedSQL, schema)
	if err != nil {
		return nil, fmt.Errorf("read the installed triggers: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []installed
	for rows.Next() {
		var h installed
		var schemaName, tableName string
		if err := rows.Scan(&h.tableOID, &schemaName, &tableName, &h.name, &h.kind, &h.enabled, &h.oldTable, &h.newTable,
			&h.plain, &h.comment, &h.function, &h.source, &h.definer, &h.language, &h.settings, &h.public); err != nil {
			return nil, fmt.Errorf("read the installed triggers: %w", err)
		}
		h.table = quote(schemaName, tableName)
		all = append(all, h)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read the installed triggers: %w", err)
	}
	return all, nil
}

// unusedFunctions lists our trigger functions that no trigger calls.
func unusedFunctions(ctx context.Context, p gorm.ConnPool, schema string) ([]string, error) {
	rows, err := p.QueryContext(ctx, `
SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype AND p.prosrc LIKE $2
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = p.oid)`, schema, sourceMark+"%")
	if err != nil {
		return nil, fmt.Errorf("look for unused functions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("look for unused functions: %w", err)
		}
		names = append(names, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("look for unused functions: %w", err)
	}
	return names, nil
}

// compare tells whether the installed trigger is what w wants. It looks at what
// the catalog says of trigger and function, and at the comment's hash, which
// alone could lie.
func (h installed) compare(w trigger) (State, string) {
	kind := opBits[w.op]
	if w.perRow {
		kind |= bitRow
	}
	transition := func(has bool, name string) string {
		if has {
			return name
		}
		return ""
	}
	switch {
	case h.kind != kind:
		return Outdated, "fires at other times"
	case h.oldTable != transition(w.oldRows, "old_rows"), h.newTable != transition(w.newRows, "new_rows"):
		return Outdated, "has other transition tables"
	case !h.plain:
		return Outdated, "has a condition, columns or arguments of its own"
	case h.function != w.function:
		return Outdated, "calls another function"
	case h.source != w.source:
		return Outdated, "the function's body differs"
	case h.language != "plpgsql" || !h.definer || h.public:
		return Outdated, "the function runs with other rights"
	case h.settings != w.settings():
		return Outdated, "the function's settings differ"
	case h.comment != w.wantComment():
		return Outdated, "the comment's hash differs"
	case h.enabled == disabled:
		return Disabled, ""
	}
	return Current, ""
}

// The values of pg_trigger.tgenabled, and what sets them again after CREATE OR
// REPLACE TRIGGER, which makes each trigger an ordinary one.
const disabled = "D"

var enabling = map[string]string{disabled: "DISABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER", "R": "ENABLE REPLICA TRIGGER"}

// settings returns what pg_proc.proconfig holds for the function.
func (tr trigger) settings() string {
	all := make([]string, 0, len(pins)+1)
	for _, pin := range tr.pins() {
		all = append(all, pin.catalog)
	}
	return strings.Join(all, "\n")
}
