package row

import (
	"strings"
	"time"
)

// literalWriter prints JSON as the text that Postgres's output functions give
// for arrays, composites and hstore: what row_to_json took apart, put together.
type literalWriter struct {
	s    string
	buf  []byte
	zone *time.Location
}

// value appends the text of the JSON value at s[i:], of type t, nested in depth
// arrays and objects. SQL NULL appends nothing and says so.
func (w *literalWriter) value(i int, t *Type, depth int) (next int, null bool, err error) {
	if t.OID == oidJSON || t.OID == oidJSONB {
		return w.json(i, t, depth)
	}
	i = skipSpace(w.s, i)
	if i >= len(w.s) {
		return i, false, malformed(i, "unexpected end of JSON")
	}
	switch c := w.s[i]; {
	case c == '"':
		text, _, next, err := readString(w.s, i)
		if err == nil {
			w.text(text, t)
		}
		return next, false, err
	case c == '[' && t.Kind == Array:
		next, err = w.array(i, t, depth)
		return next, false, err
	case c == '{' && t.Kind == Composite:
		next, err = w.record(i, t, depth)
		return next, false, err
	case c == '{' && t.Kind == Hstore:
		next, err = w.hstore(i, depth)
		return next, false, err
	}
	if next, err = skipValue(w.s, i, depth); err != nil {
		return next, false, err
	}
	token := w.s[i:next]
	switch {
	case token == "null":
		return next, true, nil
	case t.OID == oidBool && (token == "true" || token == "false"):
		token = token[:1]
	}
	w.buf = append(w.buf, token...)
	return next, false, nil
}

func (w *literalWriter) json(i int, t *Type, depth int) (next int, null bool, err error) {
	start := i
	if t.OID == oidJSONB {
		start = skipSpace(w.s, i)
	}
	if next, err = skipValue(w.s, start, depth); err != nil {
		return next, false, err
	}
	if t.OID == oidJSON {
		next = skipSpace(w.s, next)
	}
	if w.s[start:next] == "null" {
		return next, true, nil
	}
	w.buf = append(w.buf, w.s[start:next]...)
	return next, false, nil
}

// text appends a string's text, with dates and times in the form that they
// have outside JSON.
func (w *literalWriter) text(text string, t *Type) {
	switch {
	case t.OID == oidTimestamp:
		date, clock, ok := strings.Cut(text, "T")
		w.buf = append(w.buf, date...)
		if ok {
			w.buf = append(w.buf, ' ')
			w.buf = append(w.buf, clock...)
		}
	case t.OID == oidTimestamptz:
		w.buf = appendInstant(w.buf, text, w.zone)
	case t.Kind == Range && t.Elem.OID == oidTimestamptz:
		w.buf = appendRange(w.buf, text, w.zone)
	default:
		w.buf = append(w.buf, text...)
	}
}

// array appends {a,b}. A dimension more is a JSON array more, but for
// elements that are JSON arrays themselves.
func (w *literalWriter) array(i int, t *Type, depth int) (next int, err error) {
	if depth >= maxDepth {
		return i, malformed(i, "nested too deeply")
	}
	opening, delim, closing := "{", t.Delim, "}"
	if isVector(t) {
		opening, delim, closing = "", ' ', ""
	}
	w.buf = append(w.buf, opening...)
	i, more, err := enter(w.s, i)
	for first := true; more && err == nil; first = false {
		if !first {
			w.buf = append(w.buf, delim)
		}
		if i, err = w.element(i, t, depth+1); err != nil {
			return i, err
		}
		i, more, err = nextMember(w.s, i, ']')
	}
	w.buf = append(w.buf, closing...)
	return i, err
}

func (w *literalWriter) element(i int, t *Type, depth int) (next int, err error) {
	if !printsArrays(t.Elem) {
		if j := skipSpace(w.s, i); j < len(w.s) && w.s[j] == '[' {
			return w.array(j, t, depth)
		}
	}
	start := len(w.buf)
	next, null, err := w.value(i, t.Elem, depth)
	switch {
	case err != nil:
	case null:
		w.buf = append(w.buf, "NULL"...)
	case needsArrayQuotes(w.buf[start:], t.Delim):
		w.quote(start, '\\')
	}
	return next, err
}

// printsArrays says whether a type's values may print as JSON arrays, which
// then can't be told from a dimension of an array of them.
func printsArrays(t *Type) bool {
	return t.OID == oidJSON || t.OID == oidJSONB || t.Kind == Array || t.Kind == Cast
}

func isVector(t *Type) bool { return t.OID == oidInt2Vector || t.OID == oidOIDVector }

// record appends (a,b). Attributes are found by name, since the type may have
// changed after the payload was written; one that it lacks is NULL.
func (w *literalWriter) record(i int, t *Type, depth int) (next int, err error) {
	if depth >= maxDepth {
		return i, malformed(i, "nested too deeply")
	}
	at := make([]int, len(t.Attrs))
	expect := 0
	i, more, err := enter(w.s, i)
	for more && err == nil {
		var key string
		if key, i, err = readKey(w.s, i); err != nil {
			return i, err
		}
		if n := attrIndex(t.Attrs, key, expect); n >= 0 {
			at[n] = i
			expect = n + 1
		}
		if i, err = skipValue(w.s, i, depth+1); err != nil {
			return i, err
		}
		i, more, err = nextMember(w.s, i, '}')
	}
	if err != nil {
		return i, err
	}
	w.buf = append(w.buf, '(')
	for n, attr := range t.Attrs {
		if n > 0 {
			w.buf = append(w.buf, ',')
		}
		if at[n] == 0 {
			continue
		}
		start := len(w.buf)
		_, null, err := w.value(at[n], attr.Type, depth+1)
		if err != nil {
			return i, err
		}
		if null && attr.NotNull && (attr.Type.OID == oidJSON || attr.Type.OID == oidJSONB) {
			null = false
			w.buf = append(w.buf, "null"...)
		}
		if !null && needsRecordQuotes(w.buf[start:]) {
			w.quote(start, 0)
		}
	}
	w.buf = append(w.buf, ')')
	return i, nil
}

func attrIndex(attrs []Column, name string, expect int) int {
	if expect < len(attrs) && attrs[expect].Name == name {
		return expect
	}
	for n := range attrs {
		if attrs[n].Name == name {
			return n
		}
	}
	return -1
}

// hstore appends "key"=>"value", with NULL bare.
func (w *literalWriter) hstore(i, depth int) (next int, err error) {
	if depth >= maxDepth {
		return i, malformed(i, "nested too deeply")
	}
	text := &Type{}
	i, more, err := enter(w.s, i)
	for first := true; more && err == nil; first = false {
		var key string
		if key, i, err = readKey(w.s, i); err != nil {
			return i, err
		}
		if !first {
			w.buf = append(w.buf, ", "...)
		}
		start := len(w.buf)
		w.buf = append(w.buf, key...)
		w.quote(start, '\\')
		w.buf = append(w.buf, "=>"...)
		start = len(w.buf)
		var null bool
		if i, null, err = w.value(i, text, depth+1); err != nil {
			return i, err
		}
		if null {
			w.buf = append(w.buf, "NULL"...)
		} else {
			w.quote(start, '\\')
		}
		i, more, err = nextMember(w.s, i, '}')
	}
	return i, err
}
