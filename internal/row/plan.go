package row

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"gorm.io/gorm/schema"
)

// Plan decodes the rows of one table into one model. It never changes after
// Compile and serves any number of goroutines.
type Plan struct {
	model   reflect.Type
	schema  *schema.Schema
	options Options
	// columns are the table's in catalog order, followed by the model's that
	// the table lacks.
	columns []column
	byName  map[string]int
	differs []Difference
}

// Compile makes the plan for decoding rows of a table with the columns cols, as
// Columns returns them, into the model of s. Which field a column goes into,
// and whether it does, is what GORM decides in a SELECT of all columns. A column
// of the model that cols lacks, but an older payload has, is read by the field's
// type.
func Compile(s *schema.Schema, cols []Column, o Options) (*Plan, error) {
	if s == nil {
		return nil, errors.New("compile row plan: no schema")
	}
	p := &Plan{
		model:   s.ModelType,
		schema:  s,
		options: o.withDefaults(),
		byName:  make(map[string]int, len(cols)),
	}
	for _, col := range cols {
		if !col.Type.complete() {
			return nil, fmt.Errorf("compile row plan of %s: the type of column %q is incomplete", s.Name, col.Name)
		}
		field := s.LookUpField(col.Name)
		if field != nil && !field.Readable {
			field = nil
		}
		p.add(newColumn(col, field, &p.options))
	}
	for _, field := range s.Fields {
		if _, ok := p.byName[field.DBName]; !ok && field.DBName != "" && field.Readable {
			p.add(newColumn(Column{Name: field.DBName}, field, &p.options))
		}
	}
	for i := range p.columns {
		if p.columns[i].field != nil {
			p.differs = append(p.differs, differences(&p.columns[i], o)...)
		}
	}
	return p, nil
}

func (p *Plan) add(c column) {
	p.byName[c.Name] = len(p.columns)
	p.columns = append(p.columns, c)
}

// Decode decodes src, which must be one JSON object and nothing else, into dst,
// an addressable value of the model's struct. See DecodeAt.
func (p *Plan) Decode(ctx context.Context, src string, dst reflect.Value) error {
	next, err := p.DecodeAt(ctx, src, 0, dst)
	if err != nil {
		return err
	}
	if next = skipSpace(src, next); next != len(src) {
		dst.SetZero()
		return malformed(next, "unexpected text after the row")
	}
	return nil
}

// DecodeAt decodes the JSON object at src[pos:] into dst, an addressable value
// of the model's struct, and returns the position after the object. dst is set
// to its zero value first. Its strings share src's memory afterwards if src has
// at most 1 KiB, and nothing of it else.
//
// The error is a *DecodeError, with its column if the JSON is well-formed up to
// there; dst is zero then, and next is pos, so that the caller may Skip the row
// and go on with the next one.
func (p *Plan) DecodeAt(ctx context.Context, src string, pos int, dst reflect.Value) (next int, err error) {
	if dst.Type() != p.model || !dst.CanSet() {
		return pos, malformed(pos, fmt.Sprintf("the target is no settable %s", p.model))
	}
	if pos < 0 || pos > len(src) {
		return pos, malformed(pos, "position out of range")
	}
	dst.SetZero()
	next, err = p.decode(ctx, src, pos, dst)
	if err != nil {
		dst.SetZero()
		return pos, err
	}
	return next, nil
}

func (p *Plan) decode(ctx context.Context, src string, i int, dst reflect.Value) (next int, err error) {
	i = skipSpace(src, i)
	if i >= len(src) || src[i] != '{' {
		return i, malformed(i, "expected a JSON object")
	}
	i, more, err := enter(src, i)
	for expect := 0; more && err == nil; {
		var c *column
		if expect < len(p.columns) && strings.HasPrefix(src[i:], p.columns[expect].key) {
			c = &p.columns[expect]
			expect++
			i += len(c.key)
		} else if c, i, expect, err = p.find(src, i, expect); err != nil {
			return i, err
		}
		if c == nil || c.field == nil {
			i, err = skipValue(src, i, 1)
		} else {
			i, err = c.decode(ctx, src, i, dst)
		}
		if err != nil {
			return i, err
		}
		if i < len(src) && src[i] == ',' {
			i++
			continue
		}
		i, more, err = nextMember(src, i, '}')
	}
	return i, err
}

// find reads a key that is not the expected one, or not written as Postgres
// writes it, and looks it up. It returns nil for a column of no plan.
func (p *Plan) find(src string, i, expect int) (c *column, next, nextExpect int, err error) {
	key, next, err := readKey(src, i)
	if err != nil {
		return nil, next, expect, err
	}
	n, ok := p.byName[key]
	if !ok {
		return nil, next, expect, nil
	}
	return &p.columns[n], next, n + 1, nil
}

// Missing returns the model's columns that the row in src lacks, in the plan's
// order, as in an event that is older than the model. Of malformed JSON it
// reads what comes before the fault.
func (p *Plan) Missing(src string) []string {
	seen := make([]bool, len(p.columns))
	eachKey(src, func(key string) {
		if n, ok := p.byName[key]; ok {
			seen[n] = true
		}
	})
	var names []string
	for n := range p.columns {
		if p.columns[n].field != nil && !seen[n] {
			names = append(names, p.columns[n].Name)
		}
	}
	return names
}

// Unknown returns the columns of the row in src that the model lacks, in the
// row's order. Of malformed JSON it reads what comes before the fault.
func (p *Plan) Unknown(src string) []string {
	var names []string
	eachKey(src, func(key string) {
		if p.schema.LookUpField(key) == nil {
			names = append(names, strings.Clone(key))
		}
	})
	return names
}

// eachKey calls f with the keys of the object in src. A key may share memory
// with src.
func eachKey(src string, f func(key string)) {
	i := skipSpace(src, 0)
	if i >= len(src) || src[i] != '{' {
		return
	}
	i, more, err := enter(src, i)
	for more && err == nil {
		var key string
		if key, i, err = readKey(src, i); err != nil {
			return
		}
		f(key)
		if i, err = skipValue(src, i, 1); err != nil {
			return
		}
		i, more, err = nextMember(src, i, '}')
	}
}
