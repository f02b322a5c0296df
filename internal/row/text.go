package row

import (
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// stringForm is what scanString learned of a JSON string.
type stringForm uint8

const (
	plain   stringForm = 0
	escaped stringForm = 1 << 0 // has a backslash
	wide    stringForm = 1 << 1 // has bytes beyond ASCII
)

// scanString validates the JSON string whose opening quote is s[i] and returns
// the position after its closing quote.
func scanString(s string, i int) (end int, form stringForm, err error) {
	for i++; i < len(s); {
		// Eight bytes at a time up to the first that needs a look.
		for i+8 <= len(s) {
			if mask := special(load64(s, i)); mask != 0 {
				i += bits.TrailingZeros64(mask) / 8
				break
			}
			i += 8
		}
		if i >= len(s) {
			break
		}
		switch c := s[i]; {
		case c == '"':
			return i + 1, form, nil
		case c == '\\':
			form |= escaped
			if i, err = skipEscape(s, i); err != nil {
				return i, form, err
			}
		case c < ' ':
			return i, form, malformed(i, "control character in a JSON string")
		case c >= utf8.RuneSelf:
			form |= wide
			i++
			for i < len(s) && s[i] >= utf8.RuneSelf {
				i++
			}
		default:
			i++
		}
	}
	return i, form, malformed(i, "unexpected end of a JSON string")
}

func load64(s string, i int) uint64 {
	b := s[i : i+8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// special is not zero if one of w's bytes is a quote, a backslash, a control
// character or beyond ASCII; its lowest bit is the high bit of the first such
// byte. (x-1)&^x has a byte's high bit set where the byte is zero. A borrow may
// set more bits above it, but none below.
func special(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*' ')&^w | w) & highs
}

func skipEscape(s string, i int) (int, error) {
	if i+1 >= len(s) {
		return i, malformed(i, "unexpected end of a JSON string")
	}
	switch s[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, nil
	case 'u':
		if hex4(s, i+2) >= 0 {
			return i + 6, nil
		}
	}
	return i, malformed(i, "invalid escape in a JSON string")
}

// hex4 reads four hexadecimal digits at s[i:], or returns -1.
func hex4(s string, i int) rune {
	if i+4 > len(s) {
		return -1
	}
	var r rune
	for _, c := range []byte(s[i : i+4]) {
		d := hexDigit(c)
		if d > 15 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

// hexDigit returns a hexadecimal digit's value, or more than 15.
func hexDigit(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	default:
		return 255
	}
}

// readString reads the JSON string whose opening quote is s[i]. What it
// returns is fresh memory if it says so, else a part of s. As in encoding/json
// invalid UTF-8 and lone surrogates become U+FFFD.
func readString(s string, i int) (text string, fresh bool, end int, err error) {
	end, form, err := scanString(s, i)
	if err != nil {
		return "", false, end, err
	}
	text = s[i+1 : end-1]
	if form == plain || form == wide && utf8.ValidString(text) {
		return text, false, end, nil
	}
	return unescape(text), true, end, nil
}

// shared is the largest source that a string may share its memory with, in
// bytes. It is what one row usually takes; a field that is kept must not keep a
// packed notification, or a large row, alive.
const shared = 1 << 10

// cloneString is readString with memory of its own if s is larger than shared.
func cloneString(s string, i int) (text string, end int, err error) {
	text, fresh, end, err := readString(s, i)
	if err == nil && !fresh && len(s) > shared {
		text = strings.Clone(text)
	}
	return text, end, err
}

// unescape resolves the escapes of a JSON string's inside, which scanString
// has validated.
func unescape(s string) string {
	b := make([]byte, 0, len(s)+2*utf8.UTFMax)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\' && s[i+1] == 'u':
			r := hex4(s, i+2)
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if strings.HasPrefix(s[i:], `\u`) {
					low = hex4(s, i+2)
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		case c == '\\':
			b = append(b, unescapeByte(s[i+1]))
			i += 2
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return string(b)
}

func unescapeByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}

// quoteKey gives an object's key as Postgres prints it, with the colon. It
// mirrors escape_json in Postgres's src/backend/utils/adt/json.c.
func quoteKey(name string) string {
	const digits = "0123456789abcdef"
	b := []byte{'"'}
	for _, c := range []byte(name) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ':
			b = append(b, `\u00`...)
			b = append(b, digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"', ':'))
}
