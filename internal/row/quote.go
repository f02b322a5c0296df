package row

import "strings"

// quote puts buf[start:] in double quotes, where quotes and backslashes get
// the byte escape before them, or themselves if it is 0.
func (w *literalWriter) quote(start int, escape byte) {
	extra := 2
	for _, c := range w.buf[start:] {
		if c == '"' || c == '\\' {
			extra++
		}
	}
	from := len(w.buf) - 1
	for range extra {
		w.buf = append(w.buf, '"')
	}
	to := len(w.buf) - 2
	for ; from >= start; from-- {
		c := w.buf[from]
		w.buf[to] = c
		to--
		if c == '"' || c == '\\' {
			w.buf[to] = c
			if escape != 0 {
				w.buf[to] = escape
			}
			to--
		}
	}
	w.buf[to] = '"'
}

// needsArrayQuotes mirrors array_out in Postgres's arrayfuncs.c.
func needsArrayQuotes(b []byte, delim byte) bool {
	if len(b) == 0 || len(b) == 4 && strings.EqualFold(string(b), "null") {
		return true
	}
	for _, c := range b {
		if c == delim || c == '"' || c == '\\' || c == '{' || c == '}' || isSpace(c) {
			return true
		}
	}
	return false
}

// needsRecordQuotes mirrors record_out in Postgres's rowtypes.c.
func needsRecordQuotes(b []byte) bool {
	for _, c := range b {
		if c == '"' || c == '\\' || c == '(' || c == ')' || c == ',' || isSpace(c) {
			return true
		}
	}
	return len(b) == 0
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
