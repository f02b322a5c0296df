package row

import "strings"

// maxDepth is encoding/json's limit of nested arrays and objects.
const maxDepth = 10_000

// Skip validates one JSON value at src[pos:], white space before it included,
// and returns the position after it. It accepts what encoding/json accepts.
func Skip(src string, pos int) (next int, err error) {
	if pos < 0 || pos > len(src) {
		return pos, malformed(pos, "position out of range")
	}
	return skipValue(src, pos, 0)
}

// skipSpace returns the position of the first byte at or after i that is not
// JSON white space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// skipValue validates the value at s[i:], which lies in depth arrays and
// objects, and returns the position after it.
func skipValue(s string, i, depth int) (int, error) {
	i = skipSpace(s, i)
	if i >= len(s) {
		return i, malformed(i, "unexpected end of JSON")
	}
	switch s[i] {
	case '"':
		end, _, err := scanString(s, i)
		return end, err
	case '{', '[':
		return skipNested(s, i, depth)
	case 't':
		return skipLiteral(s, i, "true")
	case 'f':
		return skipLiteral(s, i, "false")
	case 'n':
		return skipLiteral(s, i, "null")
	default:
		end, _, err := scanNumber(s, i)
		return end, err
	}
}

func skipNested(s string, i, depth int) (int, error) {
	if depth >= maxDepth {
		return i, malformed(i, "nested too deeply")
	}
	object := s[i] == '{'
	i, more, err := enter(s, i)
	for more && err == nil {
		if object {
			if _, i, err = readKey(s, i); err != nil {
				return i, err
			}
		}
		if i, err = skipValue(s, i, depth+1); err != nil {
			return i, err
		}
		if object {
			i, more, err = nextMember(s, i, '}')
		} else {
			i, more, err = nextMember(s, i, ']')
		}
	}
	return i, err
}

// enter steps into the array or object that opens at s[i]. With more it
// returns the position of the first element, else the one after the end.
func enter(s string, i int) (next int, more bool, err error) {
	closing := s[i] + 2 // '[' and ']', '{' and '}' are two apart in ASCII
	i = skipSpace(s, i+1)
	if i >= len(s) {
		return i, false, malformed(i, "unexpected end of JSON")
	}
	if s[i] == closing {
		return i + 1, false, nil
	}
	return i, true, nil
}

// nextMember steps over what follows an element: a comma (more, and the
// position after it) or the closing byte (the position after it). It leaves
// white space after a comma, which may belong to a json column's text.
func nextMember(s string, i int, closing byte) (next int, more bool, err error) {
	i = skipSpace(s, i)
	switch {
	case i >= len(s):
		return i, false, malformed(i, "unexpected end of JSON")
	case s[i] == ',':
		return i + 1, true, nil
	case s[i] == closing:
		return i + 1, false, nil
	default:
		return i, false, malformed(i, "expected a comma or the end of an array or object")
	}
}

// readKey reads an object's key and the colon after it. The key may share
// memory with s. It leaves white space after the colon.
func readKey(s string, i int) (key string, next int, err error) {
	i = skipSpace(s, i)
	if i >= len(s) {
		return "", i, malformed(i, "unexpected end of JSON")
	}
	if s[i] != '"' {
		return "", i, malformed(i, "expected an object key")
	}
	key, _, i, err = readString(s, i)
	if err != nil {
		return "", i, err
	}
	i = skipSpace(s, i)
	if i >= len(s) {
		return "", i, malformed(i, "unexpected end of JSON")
	}
	if s[i] != ':' {
		return "", i, malformed(i, "expected a colon after an object key")
	}
	return key, i + 1, nil
}

func skipLiteral(s string, i int, literal string) (int, error) {
	if strings.HasPrefix(s[i:], literal) {
		return i + len(literal), nil
	}
	return i, malformed(i, "invalid JSON literal")
}

// scanNumber validates the number at s[i:] and says whether it is written as
// an integer.
func scanNumber(s string, i int) (end int, integer bool, err error) {
	start := i
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	case i < len(s) && isDigit(s[i]):
		i = skipDigits(s, i)
	case i == start:
		return i, false, malformed(i, "expected a JSON value")
	default:
		return i, false, malformed(i, "invalid JSON number")
	}
	integer = true
	if i < len(s) && s[i] == '.' {
		integer = false
		if i++; i >= len(s) || !isDigit(s[i]) {
			return i, false, malformed(i, "invalid JSON number")
		}
		i = skipDigits(s, i)
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		integer = false
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if i >= len(s) || !isDigit(s[i]) {
			return i, false, malformed(i, "invalid JSON number")
		}
		i = skipDigits(s, i)
	}
	return i, integer, nil
}

func isDigit(b byte) bool { return b-'0' <= 9 }

func skipDigits(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}
