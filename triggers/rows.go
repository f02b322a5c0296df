package triggers

import (
	"fmt"
	"strings"
)

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
