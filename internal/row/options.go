package row

import (
	"context"
	"fmt"
	"time"
)

// Options say how the session that a model is compared with reads and prints
// values. The zero value is a connection of GORM's driver without TimeZone in
// its DSN. Probe fills them in from a connection.
type Options struct {
	// Timestamp is the location in which a timestamp without time zone is
	// read. Defaults to UTC. GORM's driver sets it from TimeZone in the DSN.
	Timestamp *time.Location
	// Timestamptz is the location that timestamptz values come in. Defaults to
	// time.Local.
	Timestamptz *time.Location
	// Zone is the session's TimeZone, in which Postgres prints a timestamptz
	// inside an array, a composite or a range. Nil means that it isn't known:
	// such columns are printed in UTC, and Plan.Differs lists them.
	Zone *time.Location
	// Unusual names the session's settings that make it print values in
	// another way than the pinned settings do. Plan.Differs lists the columns
	// that depend on them.
	Unusual Setting
}

// Setting is a set of settings of a session.
type Setting uint8

// Settings that change the text of a value.
const (
	DateStyle        Setting = 1 << iota // not ISO
	IntervalStyle                        // not postgres
	ByteaOutput                          // not hex
	ExtraFloatDigits                     // not positive
)

const probeQuery = `SELECT pg_catalog.current_setting('TimeZone'),
	pg_catalog.current_setting('DateStyle') NOT LIKE 'ISO%',
	pg_catalog.current_setting('IntervalStyle') <> 'postgres',
	pg_catalog.current_setting('bytea_output') <> 'hex',
	pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 <= 0,
	'2000-01-01 00:00:00'::pg_catalog.timestamp,
	'2000-01-01 00:00:00+00'::pg_catalog.timestamptz`

// Probe asks a connection how it reads and prints values. Zone stays nil when
// Go's time zone database lacks the session's.
func Probe(ctx context.Context, q Querier) (Options, error) {
	rows, err := q.QueryContext(ctx, probeQuery)
	if err != nil {
		return Options{}, fmt.Errorf("probe session: %w", err)
	}
	defer rows.Close()
	var (
		o              Options
		zone           string
		unusual        [4]bool
		local, instant time.Time
	)
	if rows.Next() {
		err = rows.Scan(&zone, &unusual[0], &unusual[1], &unusual[2], &unusual[3], &local, &instant)
		if err != nil {
			return Options{}, fmt.Errorf("probe session: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return Options{}, fmt.Errorf("probe session: %w", err)
	}
	o.Timestamp, o.Timestamptz = local.Location(), instant.Location()
	for i, is := range unusual {
		if is {
			o.Unusual |= 1 << i
		}
	}
	if loc, err := time.LoadLocation(zone); err == nil {
		o.Zone = loc
	}
	return o, nil
}

func (o Options) withDefaults() Options {
	if o.Timestamp == nil {
		o.Timestamp = time.UTC
	}
	if o.Timestamptz == nil {
		o.Timestamptz = time.Local
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	return o
}
