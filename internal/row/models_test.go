package row_test

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm"
)

// recorder keeps what its Scan was called with: the driver.Value itself.
type recorder struct{ Got any }

func (r *recorder) Scan(v any) error {
	if b, ok := v.([]byte); ok {
		v = bytes.Clone(b)
	}
	r.Got = v
	return nil
}

func (recorder) GormDataType() string { return "text" }

// uuid is a Scanner of the kind that UUID packages have.
type uuid [16]byte

func (u *uuid) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("uuid from %T", v)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return errors.New("no uuid")
	}
	copy(u[:], b)
	return nil
}

func (u uuid) Value() (driver.Value, error) { return hex.EncodeToString(u[:]), nil }

// document is a Scanner of the kind that datatypes.JSON is.
type document json.RawMessage

func (d *document) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*d = document("null")
	case []byte:
		*d = append(document{}, v...)
	case string:
		*d = document(v)
	default:
		return fmt.Errorf("document from %T", v)
	}
	return nil
}

func (d document) Value() (driver.Value, error) { return string(d), nil }

func (document) GormDataType() string { return "json" }

// list scans the text of an array, by value receiver on a map.
type keyed map[string]bool

func (k keyed) Scan(v any) error {
	if k != nil {
		k[fmt.Sprint(v)] = true
	}
	return nil
}

func (keyed) GormDataType() string { return "text" }

type (
	namedInt     int64
	namedSmall   int8
	namedUint    uint
	namedFloat   float64
	namedFloat32 float32
	namedBool    bool
	namedString  string
	namedBytes   []byte
	namedByte    byte
	namedTime    time.Time
	scannedText  string
)

func (s *scannedText) Scan(v any) error {
	*s = scannedText(fmt.Sprintf("%T %v", v, v))
	return nil
}

type fieldType struct {
	typ reflect.Type
	tag string
}

var fieldTypes = []fieldType{
	typed[recorder](), typed[*recorder](),
	typed[int](), typed[int8](), typed[int16](), typed[int32](), typed[int64](),
	typed[uint](), typed[uint8](), typed[uint16](), typed[uint32](), typed[uint64](),
	typed[float32](), typed[float64](), typed[bool](), typed[string](), typed[[]byte](), typed[time.Time](),
	typed[*int64](), typed[*int32](), typed[*uint32](), typed[*float64](), typed[*float32](), typed[*bool](), typed[*string](),
	typed[*[]byte](), typed[*time.Time](),
	typed[namedInt](), typed[namedSmall](), typed[namedUint](), typed[namedFloat](), typed[namedFloat32](), typed[namedBool](),
	typed[namedString](), typed[namedBytes](), typed[*namedInt](), typed[*namedString](), typed[namedTime](), typed[*namedTime](),
	typed[sql.NullString](), typed[sql.NullInt64](), typed[sql.NullInt32](), typed[sql.NullInt16](), typed[sql.NullByte](),
	typed[sql.NullFloat64](), typed[sql.NullBool](), typed[sql.NullTime](), typed[sql.Null[string]](), typed[sql.Null[[]byte]](),
	typed[sql.Null[uint64]](), typed[*sql.NullString](), typed[gorm.DeletedAt](),
	typed[json.RawMessage](), typed[sql.RawBytes](), typed[uuid](), typed[*uuid](), typed[document](), typed[*document](), typed[scannedText](), typed[keyed](),
	{typ: reflect.TypeFor[[4]int](), tag: ";type:text"},
	{typ: reflect.TypeFor[[]namedByte](), tag: ";type:bytea"},
	{typ: reflect.TypeFor[map[string]any](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[[]string](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[*[]any](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[string](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[json.RawMessage](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[int64](), tag: ";serializer:unixtime"},
	{typ: reflect.TypeFor[[]byte](), tag: ";serializer:gob"},
	{typ: reflect.TypeFor[time.Time](), tag: ";autoCreateTime"},
	{typ: reflect.TypeFor[int64](), tag: ";autoUpdateTime:milli"},
}

// zonedTypes are field types that show what depends on a connection.
var zonedTypes = []fieldType{
	typed[recorder](), typed[*recorder](), typed[string](), typed[[]byte](), typed[time.Time](), typed[*time.Time](), typed[namedTime](),
	typed[sql.NullTime](), typed[gorm.DeletedAt](), typed[float32](), typed[float64](), typed[uint64](), typed[bool](),
	{typ: reflect.TypeFor[string](), tag: ";serializer:json"},
	{typ: reflect.TypeFor[int64](), tag: ";serializer:unixtime"},
}

func typed[T any]() fieldType { return fieldType{typ: reflect.TypeFor[T]()} }

// equal is reflect.DeepEqual, but that NaN equals itself and -0 is not 0.
func equal(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float()) || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		if a.Kind() == reflect.Pointer && a.Type() == reflect.TypeFor[*time.Location]() {
			return a.Pointer() == b.Pointer() || a.Elem().Interface() != nil && reflect.DeepEqual(a.Interface(), b.Interface())
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Struct:
		if t, ok := a.Interface().(time.Time); ok {
			return reflect.DeepEqual(t, b.Interface())
		}
		for i := range a.NumField() {
			if !a.Type().Field(i).IsExported() {
				return reflect.DeepEqual(a.Interface(), b.Interface())
			}
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		if raw, ok := a.Interface().(sql.RawBytes); ok {
			// Whether an empty one is nil depends on the rows that database/sql
			// had in its buffer before.
			return bytes.Equal(raw, b.Bytes())
		}
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}

func show(v reflect.Value) string {
	f := v.Field(1)
	for f.Kind() == reflect.Pointer && !f.IsNil() {
		f = f.Elem()
	}
	return fmt.Sprintf("%.300s", fmt.Sprintf("%T %#v %v", f.Interface(), f.Interface(), f.Interface()))
}

type Base struct {
	ID        uint `gorm:"primaryKey"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

type address struct {
	Street string
	Number *int
	Geo    point `gorm:"embedded;embeddedPrefix:geo_"`
}

type point struct{ Lat, Lon float64 }

type contact struct {
	Email string
	Phone *string
	Since sql.NullTime
	Level namedInt
}

// wide has what GORM does with fields beside their types.
type wide struct {
	Base
	Name     string
	Nick     *string
	Home     address        `gorm:"embedded;embeddedPrefix:home_"`
	Work     *address       `gorm:"embedded;embeddedPrefix:work_"`
	Contact  *contact       `gorm:"embedded"`
	Hidden   string         `gorm:"->:false;<-"`
	ReadOnly string         `gorm:"->"`
	Skipped  string         `gorm:"-"`
	Tags     []string       `gorm:"serializer:json"`
	Blob     map[string]int `gorm:"serializer:gob;type:bytea"`
	Seen     int64          `gorm:"serializer:unixtime;type:timestamptz"`
	Extra    document
	Key      uuid `gorm:"type:uuid"`
	Price    float64
	Exact    string    `gorm:"type:numeric(30,10)"`
	Birth    time.Time `gorm:"type:date"`
	Local    time.Time `gorm:"type:timestamp"`
	Big      uint64
	Odd      string   `gorm:"column:Odd Name"`
	Recorded recorder `gorm:"->;type:text;default:'recorded'"`
}

func wides() []*wide {
	nick, phone, number := "nick \"q\"", "+1", 7
	at := time.Date(2024, 7, 2, 3, 4, 5, 123400000, time.UTC)
	return []*wide{
		{Name: "zero", Exact: "0", Extra: document(`{"a": null}`), Birth: at, Local: at, Seen: 1},
		{
			Base: Base{CreatedAt: at, UpdatedAt: at, DeletedAt: gorm.DeletedAt{Time: at, Valid: true}},
			Name: "full", Nick: &nick, Home: address{Street: "Stra\u00dfe", Number: &number, Geo: point{Lat: 1.1, Lon: math.Copysign(0, -1)}},
			Work: &address{Street: "w", Geo: point{Lon: 1e20}}, Contact: &contact{Email: "e", Phone: &phone, Since: sql.NullTime{Time: at, Valid: true}, Level: 3},
			Hidden: "h", Tags: []string{"a", "b \u2028"}, Blob: map[string]int{"x": 1}, Seen: at.Unix(),
			Extra: document(`[1, "2"]`), Key: uuid{1, 2, 3}, Price: 12.5, Exact: "12345678901234567890.0123456789",
			Birth: at, Local: at, Big: 1 << 62, Odd: "odd",
		},
		{Name: "empty", Exact: "-1.5", Extra: document("true"), Contact: &contact{}, Tags: []string{}, Birth: at, Local: at, Seen: 2},
	}
}
