package row

import (
	"strings"
	"time"
)

// appendInstant appends a timestamptz in the zone's time; the infinities as
// they are.
func appendInstant(b []byte, text string, zone *time.Location) []byte {
	if m, ok := parseMoment(text); ok && m.hasZone {
		return appendMoment(b, m, zone)
	}
	return append(b, text...)
}

// appendRange appends the text of a range or multirange of timestamptz with
// its bounds in the zone's time. Bounds hold a space, so that they stand in
// quotes; infinity stands bare.
func appendRange(b []byte, text string, zone *time.Location) []byte {
	for {
		before, rest, ok := strings.Cut(text, `"`)
		b = append(b, before...)
		if !ok {
			return b
		}
		bound, after, _ := strings.Cut(rest, `"`)
		b = append(b, '"')
		b = appendInstant(b, bound, zone)
		b = append(b, '"')
		text = after
	}
}
