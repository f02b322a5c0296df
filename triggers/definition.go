package triggers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Definition says which writes to a table are published on a channel.
type Definition struct {
	// Channel is the notification channel: 1 to 63 bytes.
	Channel string
	// Table is the table's name as SQL text, each part quoted where it has to
	// be, such as `"authors"` or `"sales"."Order Items"`. A name without a
	// schema is looked up along the search_path.
	Table string
	// Ops are the operations that are published.
	Ops Op
	// Columns restricts updates to those that change one of these columns.
	// Other operations are published all the same.
	Columns []string
	// When is an SQL condition over NEW and OLD (and TG_OP); a row for which it
	// isn't true is not published. Names in it are looked up in pg_catalog
	// alone, so that nobody who may create objects can slip one under it:
	// qualify everything else, such as extensions' operators and own functions.
	// OLD is NULL in inserts, NEW in deletes. A condition that fails at run
	// time never fails the write: the event is lost with a warning.
	When string
	// Durable stores an event for each durable subscription of the channel in
	// the writer's transaction. Broadcast sends the rows to who is listening.
	// With neither they are broadcast. A mode that a subscription in the
	// database has is added.
	Durable, Broadcast bool
	// Ordered tells that there are durable subscriptions whose events of one
	// primary key keep their order; Key are that key's columns.
	Ordered bool
	Key     []string
	// Site is where the definition was declared, for error messages.
	Site string
}

// Validate reports what is wrong with the definition in itself, without a
// database.
func (d Definition) Validate() error {
	if err := d.Problem(); err != nil {
		return d.errorf("%w", err)
	}
	return nil
}

// Problem is Validate for a caller who names the definition in its own words.
func (d Definition) Problem() error {
	switch {
	case d.Channel == "":
		return errors.New("a channel needs a name")
	case len(d.Channel) > MaxIdentifier:
		return fmt.Errorf("the channel's name has %d bytes; Postgres allows %d", len(d.Channel), MaxIdentifier)
	case strings.ContainsRune(d.Channel+d.Table+d.When, 0), !utf8.ValidString(d.Channel + d.Table + d.When):
		return errors.New("a name or a condition has a zero byte or is no UTF-8")
	case d.Table == "":
		return errors.New("a definition needs a table")
	case d.Ops == 0 || d.Ops&^allOps != 0:
		return errors.New("no operation to listen to")
	case len(d.Columns) > 0 && !d.Ops.Has(Update):
		return fmt.Errorf("columns restrict updates, but the operation is %s", d.Ops)
	case d.When != "" && d.Ops.Has(Truncate):
		return errors.New("a condition tests rows, and a truncate has none")
	}
	return nil
}

// errorf names the definition, so that its author finds it.
func (d Definition) errorf(format string, args ...any) error {
	where := ""
	if d.Site != "" {
		where = " (declared at " + d.Site + ")"
	}
	return fmt.Errorf("channel %q on table %s%s: %w", d.Channel, d.Table, where, fmt.Errorf(format, args...))
}

// same reports whether two definitions ask for the same events.
func (d Definition) same(o Definition) bool {
	return d.Channel == o.Channel && d.Table == o.Table && d.Ops == o.Ops && d.When == o.When &&
		strings.Join(d.Columns, "\x00") == strings.Join(o.Columns, "\x00")
}

// Validate reports what is wrong with the definitions, each in itself and
// together, without a database.
func Validate(defs []Definition) error {
	_, err := distinct(defs)
	return err
}

// distinct returns the definitions without repetitions. Two different ones
// for one channel are an error, since a channel has one kind of payload.
func distinct(defs []Definition) ([]Definition, error) {
	byChannel := make(map[string]Definition, len(defs))
	unique := make([]Definition, 0, len(defs))
	var problems []error
	for _, d := range defs {
		if err := d.Validate(); err != nil {
			problems = append(problems, err)
			continue
		}
		known, ok := byChannel[d.Channel]
		switch {
		case !ok:
			byChannel[d.Channel] = d
			unique = append(unique, d)
		case known.same(d):
			i := slices.IndexFunc(unique, func(u Definition) bool { return u.Channel == d.Channel })
			unique[i].Durable, unique[i].Broadcast = unique[i].Durable || d.Durable, unique[i].Broadcast || d.Broadcast
			unique[i].Ordered = unique[i].Ordered || d.Ordered
		default:
			problems = append(problems, d.errorf("the channel is declared otherwise for table %s at %s: give one of them a channel of its own",
				known.Table, known.Site))
		}
	}
	return unique, errors.Join(problems...)
}
