package triggers

import (
	"fmt"
	"strings"
)

// pins are the settings of every trigger function. The search_path keeps
// others from putting their objects under ours; the rest decides how rows
// print as JSON and what a condition means, which the writer's session must not
// change.
var pins = []struct{ name, value, catalog string }{
	{"search_path", "pg_catalog, pg_temp", "search_path=pg_catalog, pg_temp"},
	{"bytea_output", "'hex'", "bytea_output=hex"},
	{"extra_float_digits", "1", "extra_float_digits=1"},
	{"TimeZone", "'UTC'", "TimeZone=UTC"},
	{"DateStyle", "'ISO, YMD'", "DateStyle=ISO, YMD"},
	{"IntervalStyle", "'postgres'", "IntervalStyle=postgres"},
	{"standard_conforming_strings", "on", "standard_conforming_strings=on"},
	{"transform_null_equals", "off", "transform_null_equals=off"},
}

// packed is how many bytes of rows go into one notification: 7,999, the most
// that Postgres takes, less what stands around them.
const packed = 7800

// trigger is one trigger and its function, rendered.
type trigger struct {
	def      Definition
	op       Op
	table    table
	name     string // of the trigger, on its table
	function string // of the function, in our schema; each table has its own
	wire     string // the notification channel
	source   string // the function's body
	perRow   bool
	oldRows  bool // has a transition table of old rows
	newRows  bool // has a transition table of new rows
	create   []string
}

// render renders the definition's triggers for a table of this shape, one for
// each operation.
func render(schema string, d Definition, t table) []trigger {
	all := make([]trigger, 0, len(opNames))
	for _, op := range d.Ops.Split() {
		tr := trigger{
			def: d, op: op, table: t,
			name:     Fit(schema + "_" + d.Channel + "_" + op.String()),
			function: Fit(d.Channel + "_" + op.String() + "_" + Digest(t.quoted())),
			wire:     Wire(schema, d.Channel),
			perRow:   op != Truncate && t.perRow(),
		}
		tr.oldRows = !tr.perRow && (op == Update || op == Delete)
		tr.newRows = !tr.perRow && (op == Update || op == Insert)
		tr.source = tr.body(schema)
		tr.create = tr.statements(schema)
		all = append(all, tr)
	}
	return all
}

// sourceMark begins the source of our trigger functions.
const sourceMark = "\n-- made by pubsub for GORM; changes are undone by its Migrate\n"

// body renders the function's source: the rows that pass are collected in
// items, each with a comma before it, and sent when the next one would not fit.
func (tr trigger) body(schema string) string {
	var b strings.Builder
	line := func(indent int, format string, args ...any) {
		b.WriteString(strings.Repeat("  ", indent))
		fmt.Fprintf(&b, format, args...)
		b.WriteByte('\n')
	}
	send := func(items string) string {
		return fmt.Sprintf("size := %s(%s, %s || %s || ']');",
			quote(schema, "send"), literal(tr.wire), literal(`"op":"`+tr.op.String()+`","rows":[`), items)
	}

	b.WriteString(sourceMark + "#variable_conflict use_column\n")
	line(0, "DECLARE")
	line(1, "items text := '';")
	line(1, "item text;")
	line(1, "size integer := 0;")
	line(0, "BEGIN")
	line(1, "BEGIN")
	switch {
	case tr.op == Truncate:
		line(2, "%s", send("'null'"))
	case tr.perRow:
		if filter := tr.filter(); filter != "" {
			line(2, "-- columns %s", tr.table.shape())
			line(2, "IF (%s) IS NOT TRUE THEN RETURN NULL; END IF;", filter)
		}
		line(2, "%s", send(tr.item("old", "new")))
	default:
		line(2, "FOR item IN")
		line(3, "%s", strings.Join(tr.query(), "\n      "))
		line(2, "LOOP")
		if tr.op == Update {
			line(3, "IF item IS NULL THEN RAISE 'the old and the new rows of an update do not pair'; END IF;")
		}
		line(3, "IF size > 0 AND size + octet_length(item) > %d THEN", packed)
		line(4, "%s", send("substr(items, 2)"))
		line(4, "items := '';")
		line(3, "END IF;")
		line(3, "items := items || item;")
		line(3, "size := size + octet_length(item);")
		line(2, "END LOOP;")
		line(2, "IF size > 0 THEN")
		line(3, "%s", send("substr(items, 2)"))
		line(2, "END IF;")
	}
	// The writer, whose rows they are, is told the error's text. The listeners'
	// logs are not: it may quote a value.
	line(1, "EXCEPTION WHEN OTHERS THEN")
	line(2, "RAISE WARNING 'an event of channel %% was lost: %%', %s, SQLERRM", literal(tr.def.Channel))
	line(3, "USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';")
	line(2, "BEGIN")
	line(3, "size := %s(%s, %s || to_json(SQLSTATE));", quote(schema, "send"), literal(tr.wire),
		literal(`"op":"`+tr.op.String()+`","lost":`))
	line(2, "EXCEPTION WHEN OTHERS THEN")
	line(3, "NULL; -- the warning has said it")
	line(2, "END;")
	line(1, "END;")
	line(1, "RETURN NULL;")
	line(0, "END")
	return b.String()
}

// query renders the rows of the transition tables that pass, as JSON.
//
// An update's old and new rows are paired by their position: Postgres appends
// both in one go, so that a changed or swapped primary key doesn't part them
// and none is needed. The full join makes an unpaired row show as NULL. Nested
// loops are off in this function (see statements): a plan that was cached for
// small updates would turn quadratic in a large one.
//
// The columns come from the query and not from variables of the function, whose
// cached expressions fail in open sessions when a column's type changes. The
// odd aliases are there because a column may well be called old or new.
func (tr trigger) query() []string {
	where, paired := tr.filter(), tr.oldRows && tr.newRows
	var q []string
	switch {
	case paired:
		q = []string{
			"SELECT ',' || " + tr.item(`"pubsub old row"`, `"pubsub new row"`),
			`FROM (SELECT "pubsub old".*, "pubsub old" AS "pubsub old row", row_number() OVER () AS "pubsub old position" FROM old_rows AS "pubsub old") AS old`,
			`FULL JOIN (SELECT "pubsub new".*, "pubsub new" AS "pubsub new row", row_number() OVER () AS "pubsub new position" FROM new_rows AS "pubsub new") AS new`,
			`ON "pubsub old position" = "pubsub new position"`,
		}
		if where != "" {
			where = `"pubsub old position" IS NULL OR "pubsub new position" IS NULL OR (` + where + ")"
		}
	case tr.newRows:
		q = []string{"SELECT ',' || " + tr.item("", "new.*"), "FROM new_rows AS new"}
	default:
		q = []string{"SELECT ',' || " + tr.item("old.*", ""), "FROM old_rows AS old"}
	}
	if where != "" && !paired {
		missing := "old"
		if tr.oldRows {
			missing = "new"
		}
		q = append(q, fmt.Sprintf("CROSS JOIN (SELECT (NULL::%s).*) AS %s", tr.table.quoted(), missing))
	}
	if where != "" {
		q = append(q, "WHERE "+where)
	}
	return q
}

// filter renders the condition that a row has to meet, and "" for none.
func (tr trigger) filter() string {
	var conditions []string
	if tr.op == Update && len(tr.def.Columns) > 0 {
		changed := make([]string, len(tr.def.Columns))
		for i, name := range tr.def.Columns {
			cast := "::text"
			if tr.table.columns[name].comparable {
				cast = ""
			}
			c := quote(name) + cast
			changed[i] = "old." + c + " IS DISTINCT FROM new." + c
		}
		conditions = append(conditions, "("+strings.Join(changed, " OR ")+")")
	}
	if tr.def.When != "" {
		// On lines of its own: the condition may end in a comment.
		conditions = append(conditions, "(\n"+tr.def.When+"\n)")
	}
	return strings.Join(conditions, " AND ")
}

// item renders a row, or an update's pair of rows, as JSON text.
func (tr trigger) item(before, after string) string {
	switch tr.op {
	case Insert:
		return "row_to_json(" + after + ")::text"
	case Delete:
		return "row_to_json(" + before + ")::text"
	}
	return "'[' || row_to_json(" + before + ")::text || ',' || row_to_json(" + after + ")::text || ']'"
}

// statements renders the SQL that installs the trigger.
func (tr trigger) statements(schema string) []string {
	var f strings.Builder
	fmt.Fprintf(&f, "CREATE OR REPLACE FUNCTION %s() RETURNS trigger\nLANGUAGE plpgsql SECURITY DEFINER", quote(schema, tr.function))
	for _, pin := range pins {
		fmt.Fprintf(&f, "\nSET %s = %s", pin.name, pin.value)
	}
	if tr.oldRows && tr.newRows {
		f.WriteString("\nSET enable_nestloop = off")
	}
	tag := dollar(tr.source)
	fmt.Fprintf(&f, "\nAS %s%s%s", tag, tr.source, tag)

	var t strings.Builder
	fmt.Fprintf(&t, "CREATE OR REPLACE TRIGGER %s\nAFTER %s ON %s", quote(tr.name), strings.ToUpper(tr.op.String()), tr.table.quoted())
	if tr.oldRows || tr.newRows {
		t.WriteString("\nREFERENCING")
		if tr.oldRows {
			t.WriteString(" OLD TABLE AS old_rows")
		}
		if tr.newRows {
			t.WriteString(" NEW TABLE AS new_rows")
		}
	}
	each := "STATEMENT"
	if tr.perRow {
		each = "ROW"
	}
	fmt.Fprintf(&t, "\nFOR EACH %s EXECUTE FUNCTION %s()", each, quote(schema, tr.function))

	// Whoever could attach the function to a table of their own would have the
	// casts of their types run with its owner's rights.
	revoke := fmt.Sprintf("REVOKE ALL ON FUNCTION %s() FROM PUBLIC", quote(schema, tr.function))
	comment := fmt.Sprintf("COMMENT ON TRIGGER %s ON %s IS %s", quote(tr.name), tr.table.quoted(), literal(tr.comment(f.String()+t.String())))
	return []string{f.String(), revoke, t.String(), comment}
}

// commentPrefix marks a trigger as ours.
const commentPrefix = "pubsub "

// comment is what COMMENT ON TRIGGER holds: the hash of what created it, and
// the channel.
func (tr trigger) comment(script string) string {
	return commentPrefix + Digest(script) + " " + tr.def.Channel
}

// wantComment returns the comment that the trigger must have.
func (tr trigger) wantComment() string { return tr.comment(tr.create[0] + tr.create[2]) }

// literal quotes text as an SQL string, whatever standard_conforming_strings.
func literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// dollar returns a dollar quote that the text doesn't contain.
func dollar(text string) string {
	for tag := "$pubsub$"; ; tag = "$pubsub_" + Digest(tag+text) + "$" {
		if !strings.Contains(text, tag) {
			return tag
		}
	}
}
