package listener

import (
	"database/sql"
	"strings"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

// A packet is a row of the event table that stands for several events, whose
// payloads its own is an array of, and whose numbers follow from its own. It is
// claimed as a whole. See triggers/migrations.

// expand replaces packets by their events. broken are the numbers of those that
// only the database can take apart.
func expand(stored []event) (events []event, broken []int64) {
	total := len(stored)
	for _, e := range stored {
		total += e.packed
	}
	if total == len(stored) {
		return stored, nil
	}
	events = make([]event, 0, total)
	for _, e := range stored {
		if e.packed == 0 {
			events = append(events, e)
			continue
		}
		n := len(events)
		if events = e.members(events); len(events) != n+e.packed {
			events, broken = events[:n], append(broken, e.id)
		}
	}
	return events, broken
}

// members appends the events of a packet, as far as they can be told apart.
func (e event) members(events []event) []event {
	packed, data, pos := e.packed, e.data, 1
	e.packed, e.packet = 0, e.id
	for i := range packed {
		end, err := row.Skip(data, pos)
		if err != nil {
			return events
		}
		e.id, e.data = e.packet+int64(i), strings.TrimSpace(data[pos:end])
		events = append(events, e)
		pos = end + 1 // after the comma
	}
	return events
}

// pack returns as many of the events as can be stored in one row, and the rest.
func pack(events []event) (e event, packed sql.NullInt32, rest []event) {
	e = events[0]
	if e.packet == 0 {
		return e, packed, events[1:]
	}
	b := []byte{'['}
	n := 0
	for n < len(events) && events[n].packet == e.packet && events[n].id == e.id+int64(n) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, events[n].data...)
		n++
	}
	e.data = string(append(b, ']'))
	return e, sql.NullInt32{Int32: int32(n), Valid: true}, events[n:]
}
