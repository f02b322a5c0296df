package row

// Column is a column of a table, or an attribute of a composite type.
type Column struct {
	Name string
	// NotNull is set when the column or its domain is declared NOT NULL. It
	// tells a JSON null from an SQL NULL in a json column.
	NotNull bool
	// Virtual is set when the column is computed when it is read (Postgres 18).
	// A trigger sees NULL in its place.
	Virtual bool
	Type    *Type
}

// Type is a column's Postgres type as far as decoding needs it. Domains are
// resolved to the type that they are made over.
type Type struct {
	OID  uint32
	Name string
	Kind Kind
	// Elem is an array's element type, or a range's or multirange's subtype.
	Elem *Type
	// Delim separates an array's elements in its text form: a comma, but a
	// semicolon for box.
	Delim byte
	// Attrs are a composite type's attributes.
	Attrs []Column
}

// complete says whether a type has what its kind needs.
func (t *Type) complete() bool {
	switch {
	case t == nil, (t.Kind == Array || t.Kind == Range) && !t.Elem.complete():
		return false
	}
	for _, attr := range t.Attrs {
		if !attr.Type.complete() {
			return false
		}
	}
	return true
}

// Kind says how Postgres prints a type's values as JSON.
type Kind uint8

// The kinds of types.
const (
	// Base is a type that prints as a JSON scalar, json and jsonb included.
	Base Kind = iota
	// Array prints as a JSON array.
	Array
	// Composite prints as a JSON object.
	Composite
	// Range is a range or multirange. It prints as a string.
	Range
	// Hstore is the contrib module's type. It prints as a JSON object.
	Hstore
	// Cast is a type with a cast to json, which decides how it prints.
	Cast
)

// OIDs of Postgres's built-in types (src/include/catalog/pg_type.dat).
const (
	oidBool          = 16
	oidBytea         = 17
	oidInt8          = 20
	oidInt2          = 21
	oidInt2Vector    = 22
	oidInt4          = 23
	oidRegProc       = 24
	oidOID           = 26
	oidXID           = 28
	oidCID           = 29
	oidOIDVector     = 30
	oidJSON          = 114
	oidXML           = 142
	oidPoint         = 600 // to oidPolygon: lseg, path, box
	oidPolygon       = 604
	oidLine          = 628
	oidFloat4        = 700
	oidFloat8        = 701
	oidCircle        = 718
	oidMoney         = 790
	oidDate          = 1082
	oidTimestamp     = 1114
	oidTimestamptz   = 1184
	oidInterval      = 1186
	oidNumeric       = 1700
	oidRegProcedure  = 2202
	oidRegOper       = 2203
	oidRegOperator   = 2204
	oidRegClass      = 2205
	oidRegType       = 2206
	oidRegConfig     = 3734
	oidRegDictionary = 3769
	oidJSONB         = 3802
	oidRegCollation  = 4191

	// firstUserOID is the first that a database gives to types of its own
	// (FirstNormalObjectId).
	firstUserOID = 16384
)
