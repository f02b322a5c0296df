package row

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"time"

	"gorm.io/gorm/schema"
)

// column is one column's part of a plan.
type column struct {
	Column                // Type is nil if the table lacks the column
	key     string        // `"name":`, as Postgres prints it
	field   *schema.Field // nil if the model lacks the column
	options *Options

	// put, if not nil, is the short way: it sets a value of the field's type,
	// or of the type that the field points to.
	put putFunc
	// index is the way to the field through structs embedded by value, nil if
	// it leads through an embedded pointer.
	index []int
	// elem is what the field points to if put sets that, else nil.
	elem reflect.Type
	// scans is set if the field is a Scanner, or a pointer to one, that GORM
	// and database/sql do no more than call.
	scans bool
}

var scannerType = reflect.TypeFor[sql.Scanner]()

func newColumn(col Column, field *schema.Field, o *Options) column {
	c := column{Column: col, key: quoteKey(col.Name), field: field, options: o}
	if field == nil || field.Serializer != nil {
		return c
	}
	for _, n := range field.StructField.Index {
		if n < 0 {
			return c
		}
	}
	c.index = field.StructField.Index
	t := field.FieldType
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		c.elem = t.Elem()
		t = c.elem
	}
	switch {
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
		// A pointer to a pointer and an interface are GORM's business.
	case reflect.PointerTo(t).Implements(scannerType):
		c.scans = true
	default:
		c.put = putterOf(col.Type, t, o)
	}
	return c
}

// decode reads the value at src[i:] into its field of dst.
func (c *column) decode(ctx context.Context, src string, i int, dst reflect.Value) (next int, err error) {
	if c.put != nil {
		if next, ok := c.short(src, i, dst); ok {
			return next, nil
		}
	}
	v, next, err := c.options.value(src, i, c.Type)
	if err != nil {
		return next, err
	}
	switch {
	case c.Type == nil:
		v = c.guess(v)
	case v == nil && c.NotNull && isJSON(c.Type):
		v = []byte("null")
	}
	if c.scans {
		err = c.scan(v, c.at(dst))
	} else {
		err = c.set(ctx, v, dst)
	}
	if err != nil {
		return i, c.fail(i, err)
	}
	return next, nil
}

// short is the way of a field without code of its own and of a token that
// suits it.
func (c *column) short(src string, i int, dst reflect.Value) (next int, ok bool) {
	if i >= len(src) {
		return i, false
	}
	field := c.at(dst)
	if src[i] == 'n' {
		// What a null in a json column is takes a closer look.
		if isJSON(c.Type) || len(src)-i < 4 || src[i:i+4] != "null" {
			return i, false
		}
		field.SetZero()
		return i + 4, true
	}
	if c.elem == nil {
		return c.put(src, i, field)
	}
	p := reflect.New(c.elem)
	if next, ok = c.put(src, i, p.Elem()); ok {
		field.Set(p)
	}
	return next, ok
}

func (c *column) at(dst reflect.Value) reflect.Value {
	if len(c.index) == 1 {
		return dst.Field(c.index[0])
	}
	return dst.FieldByIndex(c.index)
}

// scan calls the field's Scanner. GORM scans into a pointer, which is why a
// NULL reaches no Scanner but leaves the field at its zero value.
func (c *column) scan(v driver.Value, field reflect.Value) error {
	if v == nil {
		field.SetZero()
		return nil
	}
	if c.elem == nil {
		return callScan(field.Addr().Interface().(sql.Scanner), v)
	}
	p := reflect.New(c.elem)
	if err := callScan(p.Interface().(sql.Scanner), v); err != nil {
		return err
	}
	field.Set(p)
	return nil
}

// set goes GORM's whole way, see scanIntoStruct in its scan.go.
func (c *column) set(ctx context.Context, v driver.Value, dst reflect.Value) error {
	if v == nil && c.index != nil {
		// GORM's setters leave a field alone on NULL. It has a value if its key
		// comes twice.
		c.at(dst).SetZero()
	}
	holder := c.field.NewValuePool.Get()
	if err := assign(holder, v); err != nil {
		return err
	}
	if err := callSet(ctx, c.field, dst, holder); err != nil {
		return err
	}
	// The value must not live on in the pool.
	if err := assign(holder, nil); err != nil {
		return err
	}
	c.field.NewValuePool.Put(holder)
	return nil
}

// guess gives a value its type by the field's, for a column that the table
// doesn't have (any more, or not yet when its columns were read).
func (c *column) guess(v driver.Value) driver.Value {
	text, ok := v.(string)
	if !ok {
		return v
	}
	switch c.field.DataType {
	case schema.Time:
		for _, oid := range []uint32{oidTimestamptz, oidTimestamp, oidDate} {
			if t, ok := c.options.time(text, oid); ok {
				return t
			}
		}
	case schema.Bytes:
		if b, ok := decodeHex(text); ok {
			return b
		}
	}
	return v
}

func (c *column) fail(offset int, err error) error {
	e := &DecodeError{Column: c.Name, Offset: offset, Reason: err.Error()}
	var own *fieldError
	if errors.As(err, &own) {
		e.Err = own.err
	}
	return e
}

func isJSON(t *Type) bool { return t.OID == oidJSON || t.OID == oidJSONB }

var timeType = reflect.TypeFor[time.Time]()
