package triggers

import (
	"fmt"
	"strings"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

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
