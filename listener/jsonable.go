package listener

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
)

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// jsonable reports why encoding/json can't carry a T there and back.
func jsonable[T any]() error {
	t := reflect.TypeFor[T]()
	if err := checkJSON(t, map[reflect.Type]bool{}); err != nil {
		return fmt.Errorf("JSON can't carry a %s: %w", t, err)
	}
	return nil
}

func checkJSON(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	p := reflect.PointerTo(t)
	if (p.Implements(jsonMarshaler) && p.Implements(jsonUnmarshaler)) ||
		(p.Implements(textMarshaler) && p.Implements(textUnmarshaler)) {
		return nil
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s has no JSON form", t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("an interface with methods, %s, can't be decoded", t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), seen)
	case reflect.Map:
		if err := checkKey(t.Key()); err != nil {
			return err
		}
		return checkJSON(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || (!f.IsExported() && !f.Anonymous) {
				continue
			}
			if err := checkJSON(f.Type, seen); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func checkKey(k reflect.Type) error {
	switch {
	case k.Kind() == reflect.String, k.Kind() >= reflect.Int && k.Kind() <= reflect.Uintptr:
		return nil
	case k.Implements(textMarshaler) && reflect.PointerTo(k).Implements(textUnmarshaler):
		return nil
	}
	return fmt.Errorf("a map's key can't be a %s", k)
}
