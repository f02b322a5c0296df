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

// store renders the durable part: an event for each row and subscription, and a
// wake-up if somebody sleeps who is to be told. A process that sleeps holds the
// exclusive lock of which every writer tries the shared half. One that could have
// it keeps it until it commits, so that nobody goes to sleep in between; see the
// listener's gate.
//
// A block with an exception handler that writes spends a transaction number of
// its own, and those of a transaction with many statements slow down everybody's
// snapshots. So there is one only around what names columns, or was written by the
// application, and may fail: the filter, and the key of ordered subscriptions.
// When the filter fails, the rows are stored as they are, with the reason, and end
// as dead letters. When only the key does, they share the key 0.
func (tr trigger) store(b *script, schema string) {
	filter := tr.filter()
	switch {
	case tr.fewFirst():
		b.line(1, "%s;", strings.Join(tr.insertRange(schema, fmt.Sprint("LIMIT ", few)), "\n    "))
		b.line(1, "GET DIAGNOSTICS pubsub_rows = ROW_COUNT;")
	case filter == "" && tr.key() == "NULL":
		tr.storeRows(b, schema, filter, 1)
	default:
		problem, told := "NULL", "the key of channel % can not be read: "
		hint := "The write itself succeeded, and its events wait. After a change of the table run Migrate again."
		if filter != "" {
			problem, told = "'the condition or the columns could not be tested: SQLSTATE ' || pubsub_state", "the condition or the columns of channel % can not be tested: "
			hint = "The write itself succeeded, and its rows are kept among the dead letters. After a change of the table run Migrate again."
		}
		shared := "NULL"
		if tr.def.Ordered {
			shared = sharedKey
		}
		b.line(1, "BEGIN")
		tr.storeRows(b, schema, filter, 2)
		b.line(1, "EXCEPTION WHEN OTHERS THEN")
		b.line(2, "pubsub_state := SQLSTATE;")
		b.line(2, "RAISE WARNING '%s%%', %s, SQLERRM", told, plain.Literal(tr.def.Channel))
		b.line(3, "USING HINT = '%s';", hint)
		b.line(2, "BEGIN")
		b.line(3, "%s;", strings.Join(tr.insert(schema, "", shared, problem), "\n        "))
		b.line(2, "EXCEPTION WHEN OTHERS THEN")
		b.line(3, "RAISE WARNING 'events of channel %% were lost: %%', %s, SQLERRM;", plain.Literal(tr.def.Channel))
		b.line(2, "END;")
		b.line(1, "END;")
	}
	b.line(1, "IF FOUND AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(%d, %d) THEN", Gate, GateKey(schema, tr.def.Channel))
	b.line(2, "size := %s(%s);", quote(schema, "wake"), plain.Literal(tr.def.Channel))
	b.line(1, "END IF;")
	if tr.fewFirst() {
		tr.storeRest(b, schema)
	}
}

// A statement of more than few rows stores them in packets of about a page, and of
// no more than Numbers rows: what an event costs beside its JSON is paid once for
// a packet.
const (
	few  = 8
	page = 7000 // bytes of JSON; with more a row may not fit the page
)

// packs reports whether the rows of large statements are stored in packets. Those
// of an ordered channel have a key each.
func (tr trigger) packs() bool {
	return tr.def.Durable && !tr.def.Ordered && (tr.oldRows || tr.newRows)
}

// fewFirst reports whether the first few rows are stored without a look at whether
// there are more, which would cost a third of all that a single row does. Rows that
// are filtered, or come in pairs, can't be told to have been the first.
func (tr trigger) fewFirst() bool { return tr.packs() && tr.filter() == "" && tr.op != Update }

// storeRest renders the statements that store what follows the first few rows.
func (tr trigger) storeRest(b *script, schema string) {
	rest := fmt.Sprint("OFFSET ", few)
	b.line(1, "IF pubsub_rows OPERATOR(pg_catalog.>=) %d THEN", few)
	b.line(2, "pubsub_rows := (%s);", tr.perPacket(schema))
	b.line(2, "IF pubsub_rows OPERATOR(pg_catalog.>) 1 THEN")
	tr.storePackets(b, schema, "", rest, 3)
	b.line(2, "ELSIF pubsub_rows IS NOT NULL THEN")
	b.line(3, "%s;", strings.Join(tr.insertRange(schema, rest), "\n        "))
	b.line(2, "END IF;")
	b.line(1, "END IF;")
}

// insertRange renders the statement that stores a range of the rows.
func (tr trigger) insertRange(schema, limit string) []string {
	from, _ := tr.rows("")
	return []string{
		"INSERT INTO " + quote(schema, "event") + " (subscription_id, op, payload, context)",
		fmt.Sprintf("SELECT pubsub_subscription.id, %s, pubsub_row.payload, %s", plain.Literal(tr.op.String()), storedContext),
		"FROM (SELECT " + tr.payload(schema) + " AS payload " + strings.Join(from, " ") + " " + limit + ") AS pubsub_row",
		"CROSS JOIN " + quote(schema, "subscription") + " AS pubsub_subscription",
		"WHERE " + tr.subscribed(),
	}
}

// storeRows renders the statements that store the events of the rows that pass.
func (tr trigger) storeRows(b *script, schema, filter string, indent int) {
	margin := "\n" + strings.Repeat("  ", indent+1)
	single := strings.Join(tr.insert(schema, filter, tr.key(), "NULL"), margin)
	if !tr.packs() {
		b.line(indent, "%s;", single)
		return
	}
	b.line(indent, "pubsub_rows := (%s);", tr.perPacket(schema))
	b.line(indent, "IF pubsub_rows OPERATOR(pg_catalog.>) 1 THEN")
	tr.storePackets(b, schema, filter, "", indent+1)
	b.line(indent, "ELSE")
	b.line(indent+1, "%s;", strings.ReplaceAll(single, margin, margin+"  "))
	b.line(indent, "END IF;")
}

// perPacket renders a query of how many rows a packet has, which is NULL when
// there are few. It looks at one of the rows.
func (tr trigger) perPacket(schema string) string {
	row, side, times := "new.*", "new", 1
	if tr.op == Delete {
		row, side = "old.*", "old"
	}
	if tr.op == Update {
		times = 2
	}
	return fmt.Sprintf("SELECT LEAST(%d, %d OPERATOR(pg_catalog./) pg_catalog.octet_length((%s)::pg_catalog.text)) FROM %s_rows AS %s OFFSET %d LIMIT 1",
		Numbers, page/times, tr.single(schema, row), side, side, few)
}

// storePackets renders the statements that store rows in packets. A function without
// pins keeps the JIT compiler out for them alone.
func (tr trigger) storePackets(b *script, schema, filter, limit string, indent int) {
	if tr.bare() {
		b.line(indent, "pubsub_jit := pg_catalog.current_setting('jit');")
		b.line(indent, "PERFORM pg_catalog.set_config('jit', 'off', true);")
	}
	b.line(indent, "%s;", strings.Join(tr.insertPackets(schema, filter, limit), "\n"+strings.Repeat("  ", indent+1)))
	if tr.bare() {
		b.line(indent, "pubsub_jit := pg_catalog.set_config('jit', pubsub_jit, true);")
	}
}

// insertPackets renders the statement that stores the rows that pass in packets.
// A row that fills a page is its own packet. The rows are in order as long as
// there is memory for the groups; those of one statement have none in SQL.
func (tr trigger) insertPackets(schema, filter, limit string) []string {
	from, where := tr.rows(filter)
	packet := "(pubsub_row.position OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) pubsub_rows"
	q := []string{
		"INSERT INTO " + quote(schema, "event") + " (subscription_id, op, payload, context, packed)",
		fmt.Sprintf("SELECT pubsub_subscription.id, %s, pubsub_packet.payload, %s, pubsub_packet.packed", plain.Literal(tr.op.String()), storedContext),
		"FROM (",
		"  SELECT " + packet + " AS number, pg_catalog.json_agg(pubsub_row.payload) AS payload, pg_catalog.count(*) AS packed FROM (",
		"    SELECT " + tr.payload(schema) + " AS payload, pg_catalog.row_number() OVER () AS position",
	}
	for _, line := range from {
		q = append(q, "    "+line)
	}
	if where != "" {
		q = append(q, "    WHERE "+where)
	}
	if limit != "" {
		q = append(q, "    "+limit)
	}
	return append(q,
		"  ) AS pubsub_row",
		fmt.Sprintf("  GROUP BY %s, CASE WHEN pg_catalog.pg_column_size(pubsub_row.payload) OPERATOR(pg_catalog.>) %d THEN pubsub_row.position END OFFSET 0", packet, page),
		") AS pubsub_packet CROSS JOIN "+quote(schema, "subscription")+" AS pubsub_subscription",
		"WHERE "+tr.subscribed(),
		"ORDER BY pubsub_packet.number")
}

// subscribed renders the condition of the subscriptions that get an event.
func (tr trigger) subscribed() string {
	return "pubsub_subscription.channel OPERATOR(pg_catalog.=) " + plain.Literal(tr.def.Channel) + " AND NOT pubsub_subscription.broadcast"
}

// storedContext renders what the writer's transaction gave its events to carry.
const storedContext = "CASE WHEN pg_catalog.current_setting('" + contextSetting + "', true) OPERATOR(pg_catalog.<>) '' THEN pg_catalog.current_setting('" + contextSetting + "', true) END"

// insert renders the statement that stores the events of the rows that pass.
func (tr trigger) insert(schema, filter, key, problem string) []string {
	payload := tr.payload(schema)
	from, where := tr.rows(filter)
	subscriptions := quote(schema, "subscription") + " AS pubsub_subscription"
	if from == nil {
		from = []string{"FROM " + subscriptions}
	} else {
		from = append(from, "CROSS JOIN "+subscriptions)
	}
	condition := "WHERE " + tr.subscribed()
	if where != "" {
		condition += " AND (" + where + ")"
	}
	q := []string{
		"INSERT INTO " + quote(schema, "event") + " (subscription_id, op, payload, context, key, error)",
		fmt.Sprintf("SELECT pubsub_subscription.id, %s, %s,", plain.Literal(tr.op.String()), payload),
		fmt.Sprintf("  %s, %s, %s", storedContext, key, problem),
	}
	return append(append(q, from...), condition)
}

// A row's JSON may be longer than Postgres's limit of 1 GB when the row, as it is
// stored, has this many bytes: compressed ones may stand for 255 each, and print
// as up to six. In a column of numbers without bounds far fewer can do it.
const (
	large         = 256 << 10
	largeExpanded = 16 << 10
)

func (tr trigger) large() int {
	if tr.table.expands {
		return largeExpanded
	}
	return large
}

// payload renders a row, or an update's pair of rows, as a value of type json.
func (tr trigger) payload(schema string) string {
	before, after := tr.aliases()
	switch tr.op {
	case Truncate:
		return "'null'::pg_catalog.json"
	case Insert:
		return tr.single(schema, after)
	case Delete:
		return tr.single(schema, before)
	}
	guarded := fmt.Sprintf("%s(%s, %s)", quote(schema, "json_pair"), before, after)
	if tr.table.risky {
		return guarded
	}
	return fmt.Sprintf("CASE WHEN pg_catalog.pg_column_size(%s) OPERATOR(pg_catalog.+) pg_catalog.pg_column_size(%s) OPERATOR(pg_catalog.>) %d THEN %s ELSE pg_catalog.json_build_array(%[1]s, %[2]s) END",
		before, after, tr.large(), guarded)
}

// single renders one row.
func (tr trigger) single(schema, row string) string {
	guarded := fmt.Sprintf("%s(%s)", quote(schema, "json_of"), row)
	if tr.table.risky {
		return guarded
	}
	return fmt.Sprintf("CASE WHEN pg_catalog.pg_column_size(%s) OPERATOR(pg_catalog.>) %d THEN %s ELSE pg_catalog.row_to_json(%s) END", row, tr.large(), guarded, row)
}

// sharedKey is the key of events whose rows' keys are not known.
const sharedKey = "CASE WHEN pubsub_subscription.ordered THEN 0 END"

// key renders a hash of the row's primary key, which is never that of the shared
// one. Of an update it is the new row's.
func (tr trigger) key() string {
	switch {
	case !tr.def.Ordered:
		return "NULL"
	case len(tr.def.Key) == 0, tr.op == Truncate:
		return sharedKey
	}
	row := "new"
	if tr.op == Delete {
		row = "old"
	}
	parts := make([]string, len(tr.def.Key))
	for i, column := range tr.def.Key {
		parts[i] = row + "." + quote(column) + "::text"
	}
	return fmt.Sprintf(`CASE WHEN pubsub_subscription.ordered THEN COALESCE(NULLIF(hashtextextended((%s) COLLATE "C", 0), 0), 1) END`,
		strings.Join(parts, " || ',' || "))
}

// aliases names the old and the new row in the query of rows.
func (tr trigger) aliases() (before, after string) {
	switch {
	case tr.perRow:
		return "old", "new"
	case tr.oldRows && tr.newRows:
		return tr.private("old row"), tr.private("new row")
	}
	return "old.*", "new.*"
}

// private returns a name, quoted, that no column of the table has.
func (tr trigger) private(name string) string {
	name = "pubsub " + name
	for {
		if _, taken := tr.table.columns[name]; !taken {
			return quote(name)
		}
		name += "_"
	}
}

// broadcast renders the part that notifies: the rows that pass are collected in
// items, each with a comma before it, and sent when the next one would not fit.
func (tr trigger) broadcast(b *script, schema string) {
	send := func(items string) string {
		return fmt.Sprintf("size := %s(%s, %s || %s || ']');",
			quote(schema, "send"), plain.Literal(tr.wire), plain.Literal(`"op":"`+tr.op.String()+`","rows":[`), items)
	}
	if tr.def.Durable {
		b.line(1, "size := 0;")
	}
	b.line(1, "BEGIN")
	switch {
	case tr.op == Truncate:
		b.line(2, "%s", send("'null'"))
	case tr.perRow:
		indent := 2
		if filter := tr.filter(); filter != "" {
			b.line(2, "IF (%s) IS TRUE THEN", filter)
			indent = 3
		}
		b.line(indent, "%s", send(tr.item()))
		if indent == 3 {
			b.line(2, "END IF;")
		}
	default:
		from, where := tr.rows(tr.filter())
		q := append([]string{"SELECT ',' || " + tr.item()}, from...)
		if where != "" {
			q = append(q, "WHERE "+where)
		}
		b.line(2, "FOR item IN")
		b.line(3, "%s", strings.Join(q, "\n      "))
		b.line(2, "LOOP")
		if tr.op == Update {
			b.line(3, "IF item IS NULL THEN RAISE 'the old and the new rows of an update do not pair'; END IF;")
		}
		b.line(3, "IF size > 0 AND size + octet_length(item) > %d THEN", packed)
		b.line(4, "%s", send("substr(items, 2)"))
		b.line(4, "items := '';")
		b.line(3, "END IF;")
		b.line(3, "items := items || item;")
		b.line(3, "size := size + octet_length(item);")
		b.line(2, "END LOOP;")
		b.line(2, "IF size > 0 THEN")
		b.line(3, "%s", send("substr(items, 2)"))
		b.line(2, "END IF;")
	}
	// The writer, whose rows they are, is told the error's text. The listeners'
	// logs are not: it may quote a value.
	b.line(1, "EXCEPTION WHEN OTHERS THEN")
	b.line(2, "RAISE WARNING 'an event of channel %% was lost: %%', %s, SQLERRM", plain.Literal(tr.def.Channel))
	b.line(3, "USING HINT = 'The write itself succeeded. After a change of the table run Migrate again.';")
	b.line(2, "BEGIN")
	b.line(3, "size := %s(%s, %s || to_json(SQLSTATE));", quote(schema, "send"), plain.Literal(tr.wire),
		plain.Literal(`"op":"`+tr.op.String()+`","lost":`))
	b.line(2, "EXCEPTION WHEN OTHERS THEN")
	b.line(3, "NULL; -- the warning has said it")
	b.line(2, "END;")
	b.line(1, "END;")
}

// rows renders the rows that the trigger sees, as the FROM of a query and the
// condition of those that pass the filter. A row-level trigger's are variables,
// and a truncate has none: their FROM is nil.
//
// An update's old and new rows are paired by their position: Postgres appends
// both in one go, so that a changed or swapped primary key doesn't part them
// and none is needed. The full join makes an unpaired row show as NULL, and is
// never made by nested loops, which a plan that was cached for small updates would
// turn quadratic with in a large one.
//
// The columns come from the query and not from variables of the function, whose
// cached expressions fail in open sessions when a column's type changes. The
// odd aliases are there because a column may well be called old or new.
func (tr trigger) rows(where string) (from []string, condition string) {
	paired := tr.oldRows && tr.newRows
	switch {
	case !tr.oldRows && !tr.newRows:
		return nil, where
	case paired:
		side := func(which string) string {
			name := tr.private(which)
			return fmt.Sprintf("(SELECT %[1]s.*, %[1]s AS %[2]s, pg_catalog.row_number() OVER () AS %[3]s FROM %[4]s_rows AS %[1]s) AS %[4]s",
				name, tr.private(which+" row"), tr.private(which+" position"), which)
		}
		before, after := tr.private("old position"), tr.private("new position")
		from = []string{"FROM " + side("old"), "FULL JOIN " + side("new"), "ON " + before + " OPERATOR(pg_catalog.=) " + after}
		if where != "" {
			where = before + " IS NULL OR " + after + " IS NULL OR (" + where + ")"
		}
	case tr.newRows:
		from = []string{"FROM new_rows AS new"}
	default:
		from = []string{"FROM old_rows AS old"}
	}
	if where != "" && !paired {
		missing := "old"
		if tr.oldRows {
			missing = "new"
		}
		from = append(from, fmt.Sprintf("CROSS JOIN (SELECT (NULL::%s).*) AS %s", tr.table.quoted(), missing))
	}
	return from, where
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
func (tr trigger) item() string {
	before, after := tr.aliases()
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
