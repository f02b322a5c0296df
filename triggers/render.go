package triggers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// pin is a setting of a function, as it is written and as the catalog has it.
type pin struct{ name, value, catalog string }

// pins are the settings of trigger functions. The search_path keeps others from
// putting their objects under ours; the rest decides how rows print as JSON and
// what a condition means, which the writer's session must not change. The server's JIT compiler is kept out
// since a plan that a session has made for a large statement is compiled anew for each
// small one. See trigger.pins for which a function needs.
var pins = []pin{
	{"search_path", "pg_catalog, pg_temp", "search_path=pg_catalog, pg_temp"},
	{"bytea_output", "'hex'", "bytea_output=hex"},
	{"extra_float_digits", "1", "extra_float_digits=1"},
	{"TimeZone", "'UTC'", "TimeZone=UTC"},
	{"DateStyle", "'ISO, YMD'", "DateStyle=ISO, YMD"},
	{"IntervalStyle", "'postgres'", "IntervalStyle=postgres"},
	{"standard_conforming_strings", "on", "standard_conforming_strings=on"},
	{"transform_null_equals", "off", "transform_null_equals=off"},
	{"jit", "off", "jit=off"},
}

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

// bare reports whether the function does nothing but store rows as they are. It
// then names everything with its schema, and needs no search_path: a pin costs a
// writer some microseconds at each statement, and eight of them as much as the
// event.
func (tr trigger) bare() bool {
	return tr.def.Durable && !tr.def.Broadcast && !tr.def.Ordered && tr.filter() == ""
}

// pins returns the settings that the function needs.
func (tr trigger) pins() []pin {
	if !tr.bare() || tr.table.risky || tr.table.pins["all"] {
		return pins
	}
	return slices.DeleteFunc(slices.Clone(pins), func(p pin) bool { return !tr.table.pins[p.name] })
}

// sourceMark begins the source of our trigger functions.
const sourceMark = "\n-- made by pubsub for GORM; changes are undone by its Migrate\n"

// body renders the function's source.
func (tr trigger) body(schema string) string {
	b := &script{}
	b.WriteString(sourceMark + "#variable_conflict use_column\n")
	b.line(0, "DECLARE")
	b.line(1, "size pg_catalog.int4 := 0;")
	if tr.def.Broadcast {
		b.line(1, "items text := '';")
		b.line(1, "item text;")
	}
	if tr.def.Durable && (tr.filter() != "" || tr.def.Ordered) {
		b.line(1, "pubsub_state text; -- a name that no column has")
	}
	if tr.packs() {
		b.line(1, "pubsub_rows pg_catalog.int4;")
		if tr.bare() {
			b.line(1, "pubsub_jit pg_catalog.text;")
		}
	}
	b.line(0, "BEGIN")
	setting := "pg_catalog.current_setting(" + plain.Literal(ignoreSetting) + ", true)"
	b.line(1, "IF %s OPERATOR(pg_catalog.<>) '' THEN", setting)
	b.line(2, "IF %s OPERATOR(pg_catalog.=) %s OR pg_catalog.strpos(%[1]s, %[3]s) OPERATOR(pg_catalog.>) 0 THEN", setting, plain.Literal(ignoreAll), plain.Literal(ignored(tr.def.Channel)))
	b.line(3, "RETURN NULL;")
	b.line(2, "END IF;")
	b.line(1, "END IF;")
	if tr.perRow && (tr.filter() != "" || tr.def.Durable && tr.def.Ordered) {
		b.line(1, "-- columns %s", tr.table.shape())
	}
	if tr.def.Durable {
		tr.store(b, schema)
	}
	if tr.def.Broadcast {
		tr.broadcast(b, schema)
	}
	b.line(1, "RETURN NULL;")
	b.line(0, "END")
	return b.String()
}

// script is text in lines.
type script struct{ strings.Builder }

func (b *script) line(indent int, format string, args ...any) {
	b.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(b, format, args...)
	b.WriteByte('\n')
}

// statements renders the SQL that installs the trigger.
func (tr trigger) statements(schema string) []string {
	var f strings.Builder
	fmt.Fprintf(&f, "CREATE OR REPLACE FUNCTION %s() RETURNS trigger\nLANGUAGE plpgsql SECURITY DEFINER", quote(schema, tr.function))
	for _, pin := range tr.pins() {
		fmt.Fprintf(&f, "\nSET %s = %s", pin.name, pin.value)
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
	comment := fmt.Sprintf("COMMENT ON TRIGGER %s ON %s IS %s", quote(tr.name), tr.table.quoted(), plain.Literal(tr.comment(f.String()+t.String())))
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

// dollar returns a dollar quote that the text doesn't contain.
func dollar(text string) string {
	for tag := "$pubsub$"; ; tag = "$pubsub_" + Digest(tag+text) + "$" {
		if !strings.Contains(text, tag) {
			return tag
		}
	}
}
