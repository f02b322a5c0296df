package hooks

import (
	"context"
	"fmt"
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
	// EventID numbers the notification that brought the event. Several events
	// of one statement may share it.
	EventID int64
	// CreatedAt is when the trigger ran, by the database's clock.
	CreatedAt time.Time

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
	if field == nil {
		panic(fmt.Sprintf("pubsub: Changed(%q): model %s has no such column", column, s.Name))
	}
	if p.Old == nil || p.New == nil {
		return p.Old != nil || p.New != nil
	}
	before, _ := field.ValueOf(context.Background(), reflect.ValueOf(p.Old).Elem())
	after, _ := field.ValueOf(context.Background(), reflect.ValueOf(p.New).Elem())
	if b, ok := before.(time.Time); ok {
		if a, ok := after.(time.Time); ok {
			return !a.Equal(b)
		}
	}
	return !reflect.DeepEqual(before, after)
}

// Missing returns the model's columns that the event doesn't have, since the
// table lacked them when it was written. Their fields are zero.
func (p TriggerPayload[M]) Missing() []string {
	if p.plan == nil || p.source == "" {
		return nil
	}
	return p.plan.Missing(p.firstRow())
}

// Unknown returns the event's columns that the model doesn't have. They are
// ignored.
func (p TriggerPayload[M]) Unknown() []string {
	if p.plan == nil || p.source == "" {
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
