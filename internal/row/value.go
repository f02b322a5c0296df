package row

import (
	"database/sql/driver"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// value reads the JSON value at s[i:] of a column of type t and returns the
// driver.Value that pgx's database/sql driver gives for it (Rows.initValueFuncs
// in its stdlib/sql.go). A token that doesn't suit the type, from a time when
// the column had another one, becomes its own natural driver.Value, so that
// database/sql's conversion decides. The value shares no memory with s.
func (o *Options) value(s string, i int, t *Type) (v driver.Value, next int, err error) {
	if t != nil && (t.OID == oidJSON || t.OID == oidJSONB) {
		return jsonValue(s, i, t.OID == oidJSON)
	}
	i = skipSpace(s, i)
	if i >= len(s) {
		return nil, i, malformed(i, "unexpected end of JSON")
	}
	switch s[i] {
	case 'n':
		next, err = skipLiteral(s, i, "null")
		return nil, next, err
	case '"':
		text, next, err := cloneString(s, i)
		if err != nil || t == nil {
			return text, next, err
		}
		return o.fromString(text, t), next, nil
	case 't', 'f':
		next, err = skipValue(s, i, 1)
		if err != nil || t != nil && isText(t) {
			return strings.Clone(s[i:next]), next, err
		}
		return s[i] == 't', next, nil
	case '[', '{':
		return o.fromNested(s, i, t)
	default:
		next, integer, err := scanNumber(s, i)
		if err != nil {
			return nil, next, err
		}
		return fromNumber(s[i:next], integer, t), next, nil
	}
}

// jsonValue reads a json column's value. A JSON null may be an SQL NULL, too.
func jsonValue(s string, i int, spaced bool) (v driver.Value, next int, err error) {
	raw, next, err := jsonText(s, i, spaced)
	if err != nil || raw == "null" {
		return nil, next, err
	}
	return []byte(raw), next, nil
}

// jsonText takes a json column's text as it stands. The white space around a
// json value is part of it (spaced); jsonb has none, so that there it comes
// from somebody who formatted the payload.
func jsonText(s string, i int, spaced bool) (raw string, next int, err error) {
	start := i
	if !spaced {
		start = skipSpace(s, i)
	}
	next, err = skipValue(s, start, 1)
	if err != nil {
		return "", next, err
	}
	if spaced {
		next = skipSpace(s, next)
	}
	return s[start:next], next, nil
}

// isText says whether pgx hands a type's values over as text.
func isText(t *Type) bool {
	switch t.OID {
	case oidBool, oidBytea, oidInt2, oidInt4, oidInt8, oidFloat4, oidFloat8,
		oidOID, oidXID, oidCID, oidDate, oidTimestamp, oidTimestamptz, oidXML:
		return false
	}
	return true
}

func (o *Options) fromString(text string, t *Type) driver.Value {
	switch t.OID {
	case oidBytea:
		if b, ok := decodeHex(text); ok {
			return b
		}
	case oidXML:
		return []byte(text)
	case oidOID, oidXID, oidCID:
		if v, end, ok := readInt(text, 0); ok && end == len(text) {
			return v
		}
	case oidFloat4, oidFloat8:
		// NaN and the infinities are strings in JSON.
		if f, err := strconv.ParseFloat(text, 64); err == nil && f-f != 0 {
			return f
		}
	case oidDate, oidTimestamp, oidTimestamptz:
		if at, ok := o.time(text, t.OID); ok {
			return at
		}
	default:
		if t.Kind == Range && t.Elem.OID == oidTimestamptz {
			return string(appendRange(nil, text, o.Zone))
		}
	}
	return text
}

func decodeHex(text string) ([]byte, bool) {
	if !strings.HasPrefix(text, `\x`) {
		return nil, false
	}
	b, err := hex.DecodeString(text[2:])
	return b, err == nil
}

// time reads the text of a date, timestamp or timestamptz. It is not ok for
// another form, and for the infinities, which pgx hands over as text.
func (o *Options) time(text string, oid uint32) (time.Time, bool) {
	m, ok := parseMoment(text)
	if !ok {
		return time.Time{}, false
	}
	switch {
	case oid == oidTimestamptz && m.hasZone:
		t := time.Unix(m.unix(), int64(m.nanos))
		if o.Timestamptz != time.Local {
			t = t.In(o.Timestamptz)
		}
		return t, true
	case oid == oidTimestamp && m.hasTime && !m.hasZone:
		return m.in(o.Timestamp), true
	case oid == oidDate && !m.hasTime:
		return m.in(time.UTC), true
	}
	return time.Time{}, false
}

func fromNumber(token string, integer bool, t *Type) driver.Value {
	switch {
	case t != nil && (t.OID == oidFloat4 || t.OID == oidFloat8):
		bits := 64
		if t.OID == oidFloat4 {
			bits = 32
		}
		if f, err := strconv.ParseFloat(token, bits); err == nil {
			return f
		}
	case t == nil || !isText(t):
		if v, _, ok := readInt(token, 0); ok && integer {
			return v
		}
	}
	return strings.Clone(token)
}

func (o *Options) fromNested(s string, i int, t *Type) (v driver.Value, next int, err error) {
	if t != nil && (t.Kind == Array || t.Kind == Composite || t.Kind == Hstore) {
		w := literalWriter{s: s, zone: o.Zone}
		if next, _, err = w.value(i, t, 1); err != nil {
			return nil, next, err
		}
		return string(w.buf), next, nil
	}
	if next, err = skipValue(s, i, 1); err != nil {
		return nil, next, err
	}
	return strings.Clone(s[i:next]), next, nil
}
