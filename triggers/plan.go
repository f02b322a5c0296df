package triggers

import (
	"fmt"
	"slices"
	"strings"
)

// State is how a trigger in the database compares with its definition.
type State string

// The states.
const (
	Current  State = "current"  // as defined
	Disabled State = "disabled" // as defined, but switched off by Disable or by ALTER TABLE
	Missing  State = "missing"  // not there
	Outdated State = "outdated" // there, but not as defined
	Orphaned State = "orphaned" // made by an Installer, and nothing defines it any more
)

// Item is one trigger of a Plan.
type Item struct {
	State   State
	Channel string
	Op      Op
	Table   string // quoted, with its schema
	Trigger string // its name on the table
	Reason  string // why it is outdated
	Site    string // where it was declared

	create  []string // the SQL that installs it
	when    string   // the condition to check before
	durable bool     // its function stores events
}

func (i Item) String() string {
	text := fmt.Sprintf("%s: trigger %q on %s", i.State, i.Trigger, i.Table)
	if i.Channel != "" {
		text += fmt.Sprintf(" for channel %q", i.Channel)
	}
	if i.Reason != "" {
		text += " (" + i.Reason + ")"
	}
	return text
}

// Plan is a comparison of definitions with a database.
type Plan struct {
	Schema string
	Items  []Item // sorted by table and trigger
}

// Todo returns the items that Apply would install: the missing and the
// outdated ones.
func (p Plan) Todo() []Item { return p.in(Missing, Outdated) }

// Strays returns the orphans that publish on a channel which is defined for
// another table: its listeners get their rows, too.
func (p Plan) Strays() []Item {
	defined := map[string]bool{}
	for _, item := range p.in(Current, Disabled, Missing, Outdated) {
		defined[item.Channel] = true
	}
	return slices.DeleteFunc(p.Orphans(), func(item Item) bool { return !defined[item.Channel] })
}

// Orphans returns the items that Prune would drop.
func (p Plan) Orphans() []Item { return p.in(Orphaned) }

func (p Plan) in(states ...State) []Item {
	var items []Item
	for _, item := range p.Items {
		if slices.Contains(states, item.State) {
			items = append(items, item)
		}
	}
	return items
}

// SQL returns what Apply would run, as a script that can go into a migration
// of another tool. It is empty when nothing is to do. The triggers need our own
// tables: see Installer.SQL.
func (p Plan) SQL() string {
	var b strings.Builder
	for _, item := range p.Todo() {
		fmt.Fprintf(&b, "-- channel %q: %s on %s\n", item.Channel, item.Op, item.Table)
		for _, statement := range item.create {
			b.WriteString(statement + ";\n\n")
		}
	}
	return b.String()
}

// compare makes the plan from what is defined and what is installed.
func compare(want []trigger, have []installed) Plan {
	type key struct {
		table uint32
		name  string
	}
	found := make(map[key]installed, len(have))
	for _, h := range have {
		found[key{h.tableOID, h.name}] = h
	}
	var plan Plan
	for _, w := range want {
		item := Item{
			State: Missing, Channel: w.def.Channel, Op: w.op, Table: w.table.quoted(), Trigger: w.name, Site: w.def.Site,
			create: w.create, when: w.def.When, durable: w.def.Durable,
		}
		k := key{w.table.oid, w.name}
		if h, ok := found[k]; ok {
			delete(found, k)
			item.State, item.Reason = h.compare(w)
			if verb, ok := enabling[h.enabled]; ok {
				restore := fmt.Sprintf("ALTER TABLE %s %s %s", item.Table, verb, quote(item.Trigger))
				item.create = append(slices.Clone(item.create), restore)
			}
		}
		plan.Items = append(plan.Items, item)
	}
	for _, h := range found {
		if channel, ok := h.ours(); ok {
			plan.Items = append(plan.Items, Item{
				State: Orphaned, Channel: channel, Table: h.table, Trigger: h.name, Op: h.op(),
			})
		}
	}
	slices.SortStableFunc(plan.Items, func(a, b Item) int {
		if c := strings.Compare(a.Table, b.Table); c != 0 {
			return c
		}
		return strings.Compare(a.Trigger, b.Trigger)
	})
	return plan
}
