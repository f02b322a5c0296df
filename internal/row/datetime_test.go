package row

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDaysSinceEpoch(t *testing.T) {
	t.Parallel()
	for year := -4800; year < 3000; year++ {
		for _, md := range [][2]int{{1, 1}, {2, 28}, {2, daysIn(year, 2)}, {3, 1}, {12, 31}, {1 + (year+4800)%12, 1 + (year+4800)%28}} {
			want := time.Date(year, time.Month(md[0]), md[1], 0, 0, 0, 0, time.UTC)
			require.Equal(t, want.Unix(), daysSinceEpoch(year, md[0], md[1])*86400)
			require.Equal(t, md[1], want.Day())
		}
	}
	require.Equal(t, time.Date(5874897, 12, 31, 0, 0, 0, 0, time.UTC).Unix(), daysSinceEpoch(5874897, 12, 31)*86400)
}

func TestParseMoment(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2024-01-02":                       at.Truncate(24 * time.Hour),
		"2024-01-02T03:04:05":              at,
		"2024-01-02 03:04:05":              at,
		"2024-01-02T03:04:05Z":             at,
		"2024-01-02T03:04:05+00":           at,
		"2024-01-02T03:04:05.1+00:00":      at.Add(100 * time.Millisecond),
		"2024-01-02T03:04:05.123456789":    at.Add(123456789),
		"2024-01-02T03:04:05.000001-00:30": at.Add(30*time.Minute + time.Microsecond),
		"2024-01-02 03:04:05+05:45":        at.Add(-5*time.Hour - 45*time.Minute),
		"2024-01-02 03:04:05-15:59:59":     at.Add(15*time.Hour + 59*time.Minute + 59*time.Second),
		"0044-03-15 BC":                    time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC),
		"0001-02-29T00:00:00+00:00 BC":     time.Date(0, 2, 29, 0, 0, 0, 0, time.UTC),
		"294276-12-31T23:59:59.999999":     time.Date(294276, 12, 31, 23, 59, 59, 999999000, time.UTC),
		"2024-02-29":                       time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		m, ok := parseMoment(text)
		require.True(t, ok, text)
		require.Equal(t, want, time.Unix(m.unix(), int64(m.nanos)).UTC(), text)
	}
	for _, text := range []string{
		"", "2024", "2024-01", "2024-01-0", "24-01-02", "02024-1-02", "2024-1-002", "2024/01/02", "0000-01-01", "99999999-01-01", "2024-00-02", "2024-13-02", "2024-01-00",
		"2024-01-32", "2023-02-29", "1900-02-29", "0001-02-29", "2024-04-31", "2024-01-02T", "2024-01-02T03", "2024-01-02T03:04", "2024-01-02T03:04:0", "2024-01-02T3:04:05",
		"2024-01-02T24:00:00", "2024-01-02T03:60:05", "2024-01-02T03:04:60", "2024-01-02T03:04:05.", "2024-01-02T03:04:05.x", "2024-01-02T03:04:05.1234567890",
		"2024-01-02T03:04:05+", "2024-01-02T03:04:05+1", "2024-01-02T03:04:05+0130", "2024-01-02T03:04:05+01:", "2024-01-02T03:04:05+01:6x", "2024-01-02T03:04:05+01:02:03:04",
		"2024-01-02T03:04:05z", "2024-01-02 AD", "2024-01-02  BC", "2024-01-02BC", "2024-01-02T03:04:05 BC ", "infinity", "-infinity", "2024-01-02x03:04:05", " 2024-01-02",
		"2024-01-02 ", "+2024-01-02", "-2024-01-02", "2024-01-02T03:04:05+60",
	} {
		_, ok := parseMoment(text)
		require.False(t, ok, text)
	}
}
