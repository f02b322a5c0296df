package row

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// assign stores src in what dest points to, with the rules by which
// database/sql's Rows.Scan stores a driver.Value (convertAssign in its
// convert.go, which can't be called for types known only at run time). Unlike
// there an error's text holds no part of the value.
func assign(dest any, src driver.Value) error {
	switch d := dest.(type) {
	case *string:
		if s, ok := asText(src); ok {
			*d = s
			return nil
		}
	case *[]byte:
		return assignBytes(d, src)
	case *sql.RawBytes:
		return assignBytes((*[]byte)(d), src)
	case *bool:
		v, err := driver.Bool.ConvertValue(src)
		if err != nil {
			return mismatch(src, reflect.TypeFor[bool](), nil)
		}
		*d = v.(bool)
		return nil
	case *any:
		*d = src
		return nil
	case *time.Time:
		if t, ok := src.(time.Time); ok {
			*d = t
			return nil
		}
	}
	if scanner, ok := dest.(sql.Scanner); ok {
		return callScan(scanner, src)
	}
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return errors.New("the destination is no pointer, or a nil one")
	}
	return assignReflect(v.Elem(), src)
}

func assignBytes(d *[]byte, src driver.Value) error {
	switch s := src.(type) {
	case nil:
		*d = nil
	case []byte:
		*d = bytes.Clone(s)
	default:
		text, ok := asText(src)
		if !ok {
			return mismatch(src, reflect.TypeFor[[]byte](), nil)
		}
		*d = []byte(text)
	}
	return nil
}

func assignReflect(dst reflect.Value, src driver.Value) error {
	t := dst.Type()
	sv := reflect.ValueOf(src)
	if sv.IsValid() {
		switch {
		case sv.Type().AssignableTo(t):
			if b, ok := src.([]byte); ok {
				sv = reflect.ValueOf(bytes.Clone(b))
			}
			dst.Set(sv)
			return nil
		case sv.Kind() == t.Kind() && sv.CanConvert(t):
			dst.Set(sv.Convert(t))
			return nil
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		if src == nil {
			dst.SetZero()
			return nil
		}
		dst.Set(reflect.New(t.Elem()))
		return assign(dst.Interface(), src)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return assignNumber(dst, src)
	case reflect.String:
		switch s := src.(type) {
		case string:
			dst.SetString(s)
			return nil
		case []byte:
			dst.SetString(string(s))
			return nil
		}
	}
	return mismatch(src, t, nil)
}

// assignNumber goes through a decimal text, as database/sql does: that makes
// 1e+06 no integer, and rounds to a float32 twice.
func assignNumber(dst reflect.Value, src driver.Value) error {
	if src == nil {
		return mismatch(src, dst.Type(), nil)
	}
	text, ok := asText(src)
	if _, isTime := src.(time.Time); isTime || !ok {
		return mismatch(src, dst.Type(), nil)
	}
	bits := dst.Type().Bits()
	var err error
	switch {
	case dst.CanInt():
		var v int64
		if v, err = strconv.ParseInt(text, 10, bits); err == nil {
			dst.SetInt(v)
		}
	case dst.CanUint():
		var v uint64
		if v, err = strconv.ParseUint(text, 10, bits); err == nil {
			dst.SetUint(v)
		}
	default:
		var v float64
		if v, err = strconv.ParseFloat(text, bits); err == nil {
			dst.SetFloat(v)
		}
	}
	if err != nil {
		return mismatch(src, dst.Type(), err)
	}
	return nil
}

// asText prints a driver.Value as database/sql does for a string.
func asText(src driver.Value) (text string, ok bool) {
	switch v := src.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		return "", false
	}
}

// mismatch says that a value can't be stored. Of strconv's error only the
// sentinel is kept, since the rest holds the value.
func mismatch(src driver.Value, dst reflect.Type, cause error) error {
	from := "a NULL"
	switch src.(type) {
	case nil:
	case string:
		from = "text"
	case []byte:
		from = "bytes"
	case time.Time:
		from = "a time"
	case int64:
		from = "an integer"
	case float64:
		from = "a float"
	case bool:
		from = "a boolean"
	}
	var num *strconv.NumError
	if errors.As(cause, &num) {
		return fmt.Errorf("%s can't be stored in %s: %w", from, dst, num.Err)
	}
	return fmt.Errorf("%s can't be stored in %s", from, dst)
}
