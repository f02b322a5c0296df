package row

import (
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// putFunc reads the token at src[i:] and sets v. It is not ok, and v may be set
// or not, for anything but the token that it is made for; the slow way then
// finds out what to do. Where it is ok it gives what the slow way gives.
type putFunc func(src string, i int, v reflect.Value) (next int, ok bool)

// putterOf returns the short way from a column's type to a Go type that is no
// Scanner, or nil if there is none.
func putterOf(t *Type, dst reflect.Type, o *Options) putFunc {
	if t == nil {
		return nil
	}
	switch kind := dst.Kind(); {
	case isInteger(t) || t.OID == oidNumeric:
		return numberPutter(t, kind)
	case t.OID == oidFloat4 && kind == reflect.Float32, isFloat(t) && kind == reflect.Float64:
		return floatPutter(t)
	case t.OID == oidBool && kind == reflect.Bool:
		return putBool
	case t.OID == oidBytea && isBytes(dst):
		return putHex
	case isTime(t) && dst == timeType:
		return timePutter(t.OID, o)
	case t.Kind == Base && isText(t) && !isJSON(t) && kind == reflect.String:
		return putString
	case t.Kind == Base && isText(t) && !isJSON(t) && dst == reflect.TypeFor[[]byte]():
		return putBytes
	case isJSON(t) && (kind == reflect.String || isBytes(dst)):
		return jsonPutter(t, kind == reflect.String)
	}
	return nil
}

func isInteger(t *Type) bool { return t.OID == oidInt2 || t.OID == oidInt4 || t.OID == oidInt8 }

func isFloat(t *Type) bool { return t.OID == oidFloat4 || t.OID == oidFloat8 }

func isTime(t *Type) bool {
	return t.OID == oidDate || t.OID == oidTimestamp || t.OID == oidTimestamptz
}

// isBytes says whether a []byte can be assigned to a type.
func isBytes(t reflect.Type) bool { return reflect.TypeFor[[]byte]().AssignableTo(t) }

func numberPutter(t *Type, kind reflect.Kind) putFunc {
	switch kind {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return putInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return putUint
	case reflect.Float32, reflect.Float64:
		// A numeric is text to database/sql, which parses it to the field's size.
		return putDecimal
	case reflect.String:
		if t.OID == oidNumeric {
			return putToken
		}
	}
	return nil
}

func putInt(src string, i int, v reflect.Value) (next int, ok bool) {
	n, next, ok := readInt(src, i)
	if !ok || v.OverflowInt(n) {
		return i, false
	}
	v.SetInt(n)
	return next, true
}

func putUint(src string, i int, v reflect.Value) (next int, ok bool) {
	n, next, ok := readInt(src, i)
	if !ok || n < 0 || v.OverflowUint(uint64(n)) {
		return i, false
	}
	v.SetUint(uint64(n))
	return next, true
}

func putDecimal(src string, i int, v reflect.Value) (next int, ok bool) {
	next, _, err := scanNumber(src, i)
	if err != nil {
		return i, false
	}
	f, err := strconv.ParseFloat(src[i:next], v.Type().Bits())
	if err != nil {
		return i, false
	}
	v.SetFloat(f)
	return next, true
}

func putToken(src string, i int, v reflect.Value) (next int, ok bool) {
	next, _, err := scanNumber(src, i)
	if err != nil {
		return i, false
	}
	v.SetString(strings.Clone(src[i:next]))
	return next, true
}

func floatPutter(t *Type) putFunc {
	bits := 64
	if t.OID == oidFloat4 {
		bits = 32
	}
	return func(src string, i int, v reflect.Value) (next int, ok bool) {
		next, _, err := scanNumber(src, i)
		if err != nil {
			return i, false
		}
		f, err := strconv.ParseFloat(src[i:next], bits)
		if err != nil {
			return i, false
		}
		v.SetFloat(f)
		return next, true
	}
}

func putBool(src string, i int, v reflect.Value) (next int, ok bool) {
	switch {
	case strings.HasPrefix(src[i:], "true"):
		v.SetBool(true)
		return i + 4, true
	case strings.HasPrefix(src[i:], "false"):
		v.SetBool(false)
		return i + 5, true
	}
	return i, false
}

func putString(src string, i int, v reflect.Value) (next int, ok bool) {
	if src[i] != '"' {
		return i, false
	}
	text, next, err := cloneString(src, i)
	if err != nil {
		return i, false
	}
	v.SetString(text)
	return next, true
}

func putBytes(src string, i int, v reflect.Value) (next int, ok bool) {
	if src[i] != '"' {
		return i, false
	}
	text, _, next, err := readString(src, i)
	if err != nil {
		return i, false
	}
	v.SetBytes([]byte(text))
	return next, true
}

// putHex reads a bytea, whose backslash JSON escapes.
func putHex(src string, i int, v reflect.Value) (next int, ok bool) {
	const prefix = `"\\x`
	if !strings.HasPrefix(src[i:], prefix) {
		return i, false
	}
	i += len(prefix)
	n := strings.IndexByte(src[i:], '"')
	if n < 0 {
		return i, false
	}
	b, err := hex.DecodeString(src[i : i+n])
	if err != nil {
		return i, false
	}
	v.SetBytes(b)
	return i + n + 1, true
}

func timePutter(oid uint32, o *Options) putFunc {
	return func(src string, i int, v reflect.Value) (next int, ok bool) {
		if src[i] != '"' {
			return i, false
		}
		n := strings.IndexByte(src[i+1:], '"')
		if n < 0 {
			return i, false
		}
		t, ok := o.time(src[i+1:i+1+n], oid)
		if !ok {
			return i, false
		}
		*v.Addr().Interface().(*time.Time) = t
		return i + n + 2, true
	}
}

func jsonPutter(t *Type, text bool) putFunc {
	spaced := t.OID == oidJSON
	return func(src string, i int, v reflect.Value) (next int, ok bool) {
		raw, next, err := jsonText(src, i, spaced)
		if err != nil || raw == "null" {
			return i, false
		}
		if text {
			v.SetString(strings.Clone(raw))
		} else {
			v.SetBytes([]byte(raw))
		}
		return next, true
	}
}
