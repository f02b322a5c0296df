package triggers

import (
	"fmt"
	"strings"

	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// packed is how many bytes of rows go into one notification: 7,999, the most
// that Postgres takes, less what stands around them.
const packed = 7800

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
