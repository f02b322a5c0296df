package main

import (
	"encoding/json"
	"fmt"
	"time"
)

// Reading is the model: ten columns, and about 220 bytes as JSON, by row_to_json
// for our events and by encoding/json for the peers' payloads.
type Reading struct {
	ID        int64     `json:"id"`
	Sensor    string    `json:"sensor"`
	Place     string    `json:"place"`
	Unit      string    `json:"unit"`
	Valid     bool      `json:"valid"`
	Value     float64   `json:"value" gorm:"type:double precision"`
	Channel   int32     `json:"channel"`
	TakenAt   time.Time `json:"taken_at"`
	CreatedAt time.Time `json:"created_at"`
	Remark    *string   `json:"remark"`
}

// Outcome is the row that a handler writes.
type Outcome struct {
	ID        int64
	ReadingID int64
	Value     float64 `gorm:"type:double precision"`
}

const (
	// fillReadings writes readings without a round trip for each.
	fillReadings = `INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
		SELECT 'thermometer ' || i, 'the roof of the house', 'degrees Celsius', true, 20.5 + i, i % 16, clock_timestamp(), clock_timestamp()
		FROM generate_series(1::int, $1::int) i`

	// fillReadingsSingly does the same with a statement for each.
	fillReadingsSingly = `DO $fill$ BEGIN FOR i IN 1..%d LOOP
		INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
		VALUES ('thermometer ' || i, 'the roof of the house', 'degrees Celsius', true, 20.5 + i, i %% 16, clock_timestamp(), clock_timestamp());
		END LOOP; END $fill$`

	insertReading = `INSERT INTO readings (sensor, place, unit, valid, value, channel, taken_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
)

// newReading is a row without an ID that is like those of fillReadings.
func newReading(i int) Reading {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return Reading{
		Sensor: fmt.Sprint("thermometer ", i), Place: "the roof of the house", Unit: "degrees Celsius", Valid: true,
		Value: 20.5 + float64(i), Channel: int32(i % 16), TakenAt: now, CreatedAt: now,
	}
}

// numbered are readings with the IDs from first on.
func numbered(first, n int) []Reading {
	rows := make([]Reading, n)
	for i := range rows {
		rows[i] = newReading(first + i)
		rows[i].ID = int64(first + i)
	}
	return rows
}

// payload is the row as the peers carry it.
func (r *Reading) payload() ([]byte, error) { return json.Marshal(r) }

// columns are the row's values for insertReading and readingColumns.
func (r *Reading) columns() []any {
	return []any{r.Sensor, r.Place, r.Unit, r.Valid, r.Value, r.Channel, r.TakenAt, r.CreatedAt}
}

var readingColumns = []string{"sensor", "place", "unit", "valid", "value", "channel", "taken_at", "created_at"}
