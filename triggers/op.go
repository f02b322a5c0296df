package triggers

import "strings"

// Op is a set of operations on a table's rows.
type Op uint8

// The operations. They combine with |.
const (
	Insert Op = 1 << iota
	Update
	Delete
	Truncate
)

const allOps = Insert | Update | Delete | Truncate

var opNames = []struct {
	op   Op
	name string
}{{Insert, "insert"}, {Update, "update"}, {Delete, "delete"}, {Truncate, "truncate"}}

// String returns the operations' names joined by "|", such as "insert|update",
// and "none" for an empty set.
func (o Op) String() string {
	names := make([]string, 0, len(opNames))
	for _, single := range o.Split() {
		for _, known := range opNames {
			if known.op == single {
				names = append(names, known.name)
			}
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "|")
}

// Has reports whether every operation of other is in o.
func (o Op) Has(other Op) bool { return o&other == other }

// Split returns the operations of o one by one, in the order insert, update,
// delete, truncate.
func (o Op) Split() []Op {
	var ops []Op
	for _, known := range opNames {
		if o.Has(known.op) {
			ops = append(ops, known.op)
		}
	}
	return ops
}

// ParseOp returns the single operation of that name.
func ParseOp(name string) (Op, bool) {
	switch name {
	case "insert":
		return Insert, true
	case "update":
		return Update, true
	case "delete":
		return Delete, true
	case "truncate":
		return Truncate, true
	}
	return 0, false
}
