package row

import "time"

// moment is a date, a timestamp or a timestamptz as Postgres prints it in ISO
// style. Fields of time and zone are zero where the text has none.
type moment struct {
	days    int64 // since 1970-01-01
	secs    int   // of the day
	nanos   int
	offset  int // seconds east of UTC
	hasTime bool
	hasZone bool
}

// parseMoment reads the whole of s: a date, perhaps followed by a time and a
// zone's offset, perhaps by BC. The year has four digits or more, the fraction
// one to nine.
func parseMoment(s string) (m moment, ok bool) {
	year, i := 0, 0
	for i < len(s) && isDigit(s[i]) {
		if i == 7 { // Postgres has no year beyond 5874897
			return m, false
		}
		year = year*10 + int(s[i]-'0')
		i++
	}
	if i < 4 || year == 0 || len(s) < i+6 || s[i] != '-' || s[i+3] != '-' {
		return m, false
	}
	month, day := digits2(s, i+1), digits2(s, i+4)
	i += 6
	if i < len(s) && (s[i] == 'T' || s[i] == ' ' && s[i:] != " BC") {
		if i = m.parseTime(s, i+1); i < 0 {
			return m, false
		}
		if i < len(s) && (s[i] == '+' || s[i] == '-' || s[i] == 'Z') {
			if i = m.parseZone(s, i); i < 0 {
				return m, false
			}
		}
	}
	switch s[i:] {
	case "":
	case " BC":
		year = 1 - year // the year before 1 is 1 BC, in Go the year 0
	default:
		return m, false
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return m, false
	}
	m.days = daysSinceEpoch(year, month, day)
	return m, true
}

func (m *moment) parseTime(s string, i int) int {
	if len(s) < i+8 || s[i+2] != ':' || s[i+5] != ':' {
		return -1
	}
	hour, minute, sec := digits2(s, i), digits2(s, i+3), digits2(s, i+6)
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 59 {
		return -1
	}
	m.hasTime = true
	m.secs = hour*3600 + minute*60 + sec
	i += 8
	if i == len(s) || s[i] != '.' {
		return i
	}
	start := i + 1
	for i = start; i < len(s) && isDigit(s[i]); i++ {
		m.nanos = m.nanos*10 + int(s[i]-'0')
		if i-start >= 9 {
			return -1
		}
	}
	if i == start {
		return -1
	}
	for n := i - start; n < 9; n++ {
		m.nanos *= 10
	}
	return i
}

// parseZone reads Z, or an offset of hours and perhaps minutes and seconds.
func (m *moment) parseZone(s string, i int) int {
	m.hasZone = true
	sign := 1
	switch s[i] {
	case 'Z':
		return i + 1
	case '-':
		sign = -1
	}
	i++
	for unit := 3600; unit > 0; unit /= 60 {
		if len(s) < i+2 {
			return -1
		}
		v := digits2(s, i)
		if v < 0 || v > 59 {
			return -1
		}
		m.offset += sign * v * unit
		if i += 2; i == len(s) || s[i] != ':' {
			return i
		}
		i++
	}
	return -1
}

// digits2 reads two digits at s[i:], or returns -1.
func digits2(s string, i int) int {
	if !isDigit(s[i]) || !isDigit(s[i+1]) {
		return -1
	}
	return int(s[i]-'0')*10 + int(s[i+1]-'0')
}

// unix is the moment's time in seconds since 1970.
func (m moment) unix() int64 {
	return m.days*86400 + int64(m.secs) - int64(m.offset)
}

// in reads the moment's clock in loc, whatever offset it has. Like pgx it
// leaves a time that loc skips to time.Date.
func (m moment) in(loc *time.Location) time.Time {
	t := time.Unix(m.days*86400+int64(m.secs), int64(m.nanos)).UTC()
	if loc == time.UTC {
		return t
	}
	year, month, day := t.Date()
	hour, minute, sec := t.Clock()
	return time.Date(year, month, day, hour, minute, sec, m.nanos, loc)
}

// daysSinceEpoch counts the days from 1970-01-01 in the proleptic Gregorian
// calendar. Years begin in March here, which puts the leap day last.
func daysSinceEpoch(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	// Postgres begins in 4714 BC: 20 cycles of 400 years keep y positive.
	const cycles, cycleDays, epoch = 20, 146_097, 719_468
	y := int64(year) + 400*cycles
	leaps := y/4 - y/100 + y/400
	// (153*m-457)/5 days lie between 1 March and the month's first day.
	return 365*y + leaps + int64((153*month-457)/5+day-1) - cycles*cycleDays - epoch
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	default:
		return 31
	}
}

// appendMoment prints a timestamptz as Postgres does in ISO style in the zone
// loc: 2024-01-02 03:04:05.6+05:30, with BC after the offset.
func appendMoment(b []byte, m moment, loc *time.Location) []byte {
	t := time.Unix(m.unix(), int64(m.nanos)).In(loc)
	year, month, day := t.Date()
	bc := year <= 0
	if bc {
		year = 1 - year
	}
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, int(month), 2)
	b = append(b, '-')
	b = appendPadded(b, day, 2)
	b = append(b, ' ')
	hour, minute, sec := t.Clock()
	b = appendClock(b, hour, minute, sec, true)
	if m.nanos != 0 {
		b = append(b, '.')
		b = appendPadded(b, m.nanos, 9)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	_, offset := t.Zone()
	if offset < 0 {
		b = append(b, '-')
		offset = -offset
	} else {
		b = append(b, '+')
	}
	b = appendClock(b, offset/3600, offset/60%60, offset%60, false)
	if bc {
		b = append(b, " BC"...)
	}
	return b
}

// appendClock prints hours, minutes and seconds; if not whole, then without
// what is zero at the end, as Postgres prints an offset.
func appendClock(b []byte, hour, minute, sec int, whole bool) []byte {
	b = appendPadded(b, hour, 2)
	if whole || minute != 0 || sec != 0 {
		b = append(b, ':')
		b = appendPadded(b, minute, 2)
	}
	if whole || sec != 0 {
		b = append(b, ':')
		b = appendPadded(b, sec, 2)
	}
	return b
}

func appendPadded(b []byte, v, width int) []byte {
	var digits [20]byte
	i := len(digits)
	for v > 0 || len(digits)-i < width {
		i--
		digits[i] = byte('0' + v%10)
		v /= 10
	}
	return append(b, digits[i:]...)
}
