package row

import (
	"encoding/json"
	"reflect"

	"gorm.io/gorm/schema"
)

// Difference is a column whose decoded value can't be guaranteed to equal a
// SELECT's.
type Difference struct {
	Column string
	Cause  Cause
}

// Cause says why a decoded value may differ from a SELECT's.
type Cause uint8

// The causes of differences.
const (
	// JSONNull: row_to_json prints SQL NULL and the json value null alike, so
	// that both are read as NULL. Inside arrays and composites, too.
	JSONNull Cause = iota + 1
	// ArrayBounds: JSON keeps no lower bounds. It matters only for an array
	// that was written with bounds of its own, such as '[0:1]={1,2}'.
	ArrayBounds
	// ArrayDimensions: the elements may print as JSON arrays themselves, which
	// can't be told from another dimension. They are read as elements.
	ArrayDimensions
	// JSONCast: the type has a cast to json, which decides what is printed.
	JSONCast
	// Monetary: the text of money follows the writer's lc_monetary.
	Monetary
	// SearchPath: the text of reg* types follows the search_path.
	SearchPath
	// UnknownZone: a timestamptz inside the value is printed in the reading
	// session's zone, which the options lack.
	UnknownZone
	// SessionSetting: the reading session prints the value in another way,
	// see Options.Unusual.
	SessionSetting
	// VirtualColumn: the column is computed when it is read, and a trigger sees
	// NULL in its place.
	VirtualColumn
)

// String gives the cause in words.
func (c Cause) String() string {
	switch c {
	case JSONNull:
		return "a json null can't be told from an SQL NULL"
	case ArrayBounds:
		return "JSON keeps no array's lower bounds"
	case ArrayDimensions:
		return "an element that is a JSON array can't be told from a dimension"
	case JSONCast:
		return "the type's cast to json decides what is printed"
	case Monetary:
		return "the text follows the writer's lc_monetary"
	case SearchPath:
		return "the text follows the search_path"
	case UnknownZone:
		return "the reading session's time zone is not known"
	case SessionSetting:
		return "the reading session's settings print it in another way"
	case VirtualColumn:
		return "a trigger sees no value of a virtual generated column"
	default:
		return "unknown cause"
	}
}

// Differs returns the columns whose decoded value can't be guaranteed to equal
// a SELECT's, with every cause, in the plan's order. The other columns of the
// model decode to what a SELECT gives.
func (p *Plan) Differs() []Difference {
	return append([]Difference(nil), p.differs...)
}

func differences(c *column, o Options) []Difference {
	if c.Type == nil {
		return nil // a SELECT has no value for it, nor has a payload of this table
	}
	f := finder{options: o, causes: make(map[Cause]bool)}
	if isJSON(c.Type) {
		f.causes[JSONNull] = !c.NotNull && !nullIsZero(c.field)
	} else {
		f.visit(c.Type, false)
	}
	f.causes[VirtualColumn] = c.Virtual
	var out []Difference
	for cause := JSONNull; cause <= VirtualColumn; cause++ {
		if f.causes[cause] {
			out = append(out, Difference{Column: c.Name, Cause: cause})
		}
	}
	return out
}

// nullIsZero says whether a field reads SQL NULL and a json null alike: GORM's
// JSON serializer does, unless the field's type looks at the null itself.
func nullIsZero(field *schema.Field) bool {
	_, ok := field.Serializer.(schema.JSONSerializer)
	return ok && !reflect.PointerTo(field.FieldType).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// finder collects the causes of differences in a type.
type finder struct {
	options Options
	causes  map[Cause]bool
}

func (f *finder) visit(t *Type, nested bool) {
	switch t.Kind {
	case Array:
		if !isVector(t) {
			f.causes[ArrayBounds] = true
			f.causes[ArrayDimensions] = f.causes[ArrayDimensions] || printsArrays(t.Elem)
		}
		f.visitInner(t.Elem, false)
		return
	case Composite:
		for _, attr := range t.Attrs {
			f.visitInner(attr.Type, attr.NotNull)
		}
		return
	case Range:
		f.visitInner(t.Elem, false)
		// A bound that holds a timestamptz deeper inside stays in UTC.
		if t.Elem.OID != oidTimestamptz && holdsTimestamptz(t.Elem) {
			f.causes[UnknownZone] = true
		}
		return
	case Cast:
		f.causes[JSONCast] = true
		return
	}
	f.visitBase(t, nested)
}

func (f *finder) visitInner(t *Type, notNull bool) {
	if isJSON(t) {
		f.causes[JSONNull] = f.causes[JSONNull] || !notNull
		return
	}
	f.visit(t, true)
}

func (f *finder) visitBase(t *Type, nested bool) {
	unusual := f.options.Unusual
	switch t.OID {
	case oidMoney:
		f.causes[Monetary] = true
	case oidRegProc, oidRegProcedure, oidRegOper, oidRegOperator, oidRegClass, oidRegType,
		oidRegConfig, oidRegDictionary, oidRegCollation:
		f.causes[SearchPath] = true
	case oidTimestamptz, oidTimestamp, oidDate:
		if nested && t.OID == oidTimestamptz && f.options.Zone == nil {
			f.causes[UnknownZone] = true
		}
		f.depends(nested && unusual&DateStyle != 0)
	case oidInterval:
		f.depends(unusual&IntervalStyle != 0)
	case oidBytea:
		f.depends(nested && unusual&ByteaOutput != 0)
	case oidFloat4, oidFloat8:
		f.depends(nested && unusual&ExtraFloatDigits != 0)
	default:
		f.depends(holdsFloats(t) && unusual&ExtraFloatDigits != 0)
	}
}

// holdsFloats says whether a type's text holds floats: the geometric ones, and
// those of the contrib modules cube and seg.
func holdsFloats(t *Type) bool {
	return t.OID >= oidPoint && t.OID <= oidPolygon || t.OID == oidLine || t.OID == oidCircle ||
		t.OID >= firstUserOID && (t.Name == "cube" || t.Name == "seg")
}

func (f *finder) depends(yes bool) {
	if yes {
		f.causes[SessionSetting] = true
	}
}

func holdsTimestamptz(t *Type) bool {
	if t.OID == oidTimestamptz || t.Elem != nil && holdsTimestamptz(t.Elem) {
		return true
	}
	for _, attr := range t.Attrs {
		if holdsTimestamptz(attr.Type) {
			return true
		}
	}
	return false
}
