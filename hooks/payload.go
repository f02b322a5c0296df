package hooks

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/internal/row"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// TriggerPayload is what happened to one row.
type TriggerPayload[M any] struct {
	// Op is the operation: triggers.Insert, Update, Delete or Truncate.
	Op triggers.Op
	// Old is the row as it was: nil after an insert and a truncate. New is the
	// row as it was written: nil after a delete and a truncate. Both are what a
	// GORM SELECT of the row would have given at that moment, without
	// associations; GORM's AfterFind is not called.
	Old, New *M
	// EventID numbers the event, the same in each attempt. Of a broadcast it is the
	// notification's number, which several events of one statement may share.
	EventID int64
	// Attempt counts the attempts to handle the event, from 1. It is 0 in a
	// broadcast, which has only one.
	Attempt int
	// CreatedAt is when the trigger ran, by the database's clock.
	CreatedAt time.Time
	// Context is what the writer's transaction gave its events to carry, by
	// triggers.SetContext; empty for none. See triggers.ContextAs.
	Context triggers.EventContext

	schema *schema.Schema
	plan   *row.Plan
	source string // the row, or an update's pair of rows, as JSON
}

// Changed reports whether the column, named as in the database or as the
// model's field, differs between Old and New. It is true for every column
// after an insert or a delete, and false after a truncate. It panics when the
// model has no such column, which is a mistake in the program's text.
func (p TriggerPayload[M]) Changed(column string) bool {
	s := p.schema
	if s == nil { // a payload made by hand, in a test
		var err error
		if s, err = schema.Parse(new(M), &sync.Map{}, schema.NamingStrategy{}); err != nil {
			panic(fmt.Sprintf("pubsub: Changed(%q): %v", column, err))
		}
	}
	field := s.LookUpField(column)
	if field == nil || field.DBName == "" {
		panic(fmt.Sprintf("pubsub: Changed(%q): model %s has no such column", column, s.Name))
	}
	if p.Old == nil || p.New == nil {
		return p.Old != nil || p.New != nil
	}
	before, after := valueOf(field, reflect.ValueOf(p.Old).Elem()), valueOf(field, reflect.ValueOf(p.New).Elem())
	return !equal(reflect.ValueOf(before), reflect.ValueOf(after))
}

// equal compares as Postgres does where Go differs: the same moment in two
// zones is one, and NaN equals NaN.
func equal(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() || a.Type() != b.Type() {
		return a.IsValid() == b.IsValid() && !a.IsValid()
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Float32, reflect.Float64:
		x, y := a.Float(), b.Float()
		return x == y || math.IsNaN(x) && math.IsNaN(y)
	}
	if x, ok := a.Interface().(time.Time); ok {
		return x.Equal(b.Interface().(time.Time)) //nolint:forcetypeassert // the types are the same
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// valueOf returns the field's value, nil inside an embedded pointer that is nil.
// GORM's own ValueOf wraps what has a serializer, so that no two are equal, and
// its ReflectValueOf fills embedded pointers.
func valueOf(field *schema.Field, model reflect.Value) any {
	if field.Serializer == nil {
		value, _ := field.ValueOf(context.Background(), model)
		return value
	}
	for _, i := range field.StructField.Index {
		if i < 0 { // GORM's mark of an embedded pointer
			if model = model.Field(-i - 1); model.IsNil() {
				return nil
			}
			model = model.Elem()
			continue
		}
		model = model.Field(i)
	}
	return model.Interface()
}

// Missing returns the model's columns that the event doesn't have, since the
// table lacked them when it was written. Their fields are zero.
func (p TriggerPayload[M]) Missing() []string {
	if p.plan == nil || p.Old == nil && p.New == nil {
		return nil
	}
	return p.plan.Missing(p.firstRow())
}

// Unknown returns the event's columns that the model doesn't have. They are
// ignored.
func (p TriggerPayload[M]) Unknown() []string {
	if p.plan == nil || p.Old == nil && p.New == nil {
		return nil
	}
	return p.plan.Unknown(p.firstRow())
}

// firstRow returns one row of the source: both of an update have the same
// columns.
func (p TriggerPayload[M]) firstRow() string {
	if p.source[0] != '[' {
		return p.source
	}
	end, err := row.Skip(p.source, 1)
	if err != nil {
		return "{}"
	}
	return p.source[1:end]
}
