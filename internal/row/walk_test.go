package row

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tokens reads a document with the walker into encoding/json's tokens: the same
// values in the same order, duplicate keys included.
func tokens(s string) (out []json.Token, err error) {
	i, err := appendTokens(&out, s, 0, 0)
	if err == nil && skipSpace(s, i) != len(s) {
		err = malformed(i, "unexpected text after the value")
	}
	return out, err
}

func appendTokens(out *[]json.Token, s string, i, depth int) (next int, err error) {
	i = skipSpace(s, i)
	if i >= len(s) {
		return i, malformed(i, "unexpected end of JSON")
	}
	switch c := s[i]; c {
	case '"':
		text, next, err := cloneString(s, i)
		*out = append(*out, text)
		return next, err
	case '{', '[':
		if depth >= maxDepth {
			return i, malformed(i, "nested too deeply")
		}
		*out = append(*out, json.Delim(c))
		i, more, err := enter(s, i)
		for more && err == nil {
			if c == '{' {
				var key string
				if key, i, err = readKey(s, i); err != nil {
					return i, err
				}
				*out = append(*out, strings.Clone(key))
			}
			if i, err = appendTokens(out, s, i, depth+1); err != nil {
				return i, err
			}
			i, more, err = nextMember(s, i, c+2)
		}
		*out = append(*out, json.Delim(c+2))
		return i, err
	}
	if next, err = skipValue(s, i, depth); err != nil {
		return next, err
	}
	switch token := s[i:next]; token {
	case "null":
		*out = append(*out, nil)
	case "true", "false":
		*out = append(*out, token == "true")
	default:
		*out = append(*out, json.Number(token))
	}
	return next, nil
}

func decoderTokens(t *testing.T, s string) (out []json.Token) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, token)
	}
}

var walkSeeds = []string{
	"", " ", "{}", "[]", "null", "true", "false", "nul", "nulll", "tru", "0", "-0", "-", "01", "1.", "1.5", ".5", "1e", "1e+", "1e+5", "1E-05", "-1.5e10", "+1",
	`"`, `""`, `"a"`, `"\`, `"\"`, `"\""`, `"\u`, `"\u00e"`, `"\u00e9"`, `"\uD83D\uDE00"`, `"\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83dx"`, `"\ude00\ud83d"`,
	`"\ud83d\u0041"`, `"\x"`, `"\/\b\f\n\r\t\\"`, "\"\t\"", "\"\x00\"", "\"\x7f\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xf0\x9f\x98\x80\"", "\"\xe2\x82\"", "\"a\xc3(\"",
	`{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":[1,{"c":null}]}}`, ` { "a" : 1 , "b" : [ ] } `, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`, `[,]`, `[1 2]`, `{"a":1 "b":2}`,
	`{1:2}`, `{"a":1}x`, `[1]]`, `[[[`, `{"\u0061":1}`, "\ufeff{}", `["12345678\n12345678", "1234567\u00e9"]`, `"0123456789012345678901234567890123456789é0123456789"`,
	"[\r\n\t 1]", "[\v1]", `{"a":tru}`, `[1e400]`, `[-]`, `"a` + "\n" + `b"`,
}

// FuzzWalk holds the walker to encoding/json: the same documents are valid, and
// they have the same tokens.
func FuzzWalk(f *testing.F) {
	for _, seed := range walkSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := json.Valid([]byte(s))
		got, err := tokens(s)
		require.Equal(t, valid, err == nil, "encoding/json says %t, the walker %v", valid, err)
		next, err := Skip(s, 0)
		require.Equal(t, valid, err == nil && skipSpace(s, next) == len(s))
		if valid {
			require.Equal(t, decoderTokens(t, s), got)
		}
	})
}

// TestWalkDepth holds that the walker nests as deep as encoding/json does.
func TestWalkDepth(t *testing.T) {
	t.Parallel()
	for _, nest := range [][3]string{{"[", "", "]"}, {`{"a":`, "1", "}"}, {`[{"a":`, "[]", "}]"}} {
		for _, depth := range []int{maxDepth/2 - 1, maxDepth / 2, maxDepth - 1, maxDepth, maxDepth + 1} {
			s := strings.Repeat(nest[0], depth) + nest[1] + strings.Repeat(nest[2], depth)
			_, err := Skip(s, 0)
			require.Equal(t, json.Valid([]byte(s)), err == nil, "%d times %s", depth, nest[0])
			_, err = tokens(s)
			require.Equal(t, json.Valid([]byte(s)), err == nil, "%d times %s", depth, nest[0])
		}
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	src := `[{"a": "]"} , [1,2],"x"]`
	next, err := Skip(src, 1)
	require.NoError(t, err)
	require.Equal(t, len(`[{"a": "]"}`), next)
	next, err = Skip(src, next+2)
	require.NoError(t, err)
	require.Equal(t, len(`[{"a": "]"} , [1,2]`), next)
	for _, pos := range []int{-1, len(src) + 1, len(src)} {
		_, err = Skip(src, pos)
		require.Error(t, err)
	}
}

func TestDecodeErrorHoldsNoValue(t *testing.T) {
	t.Parallel()
	_, err := Skip(`{"secret": "swordfish`, 0)
	var decodeError *DecodeError
	require.ErrorAs(t, err, &decodeError)
	require.Empty(t, decodeError.Column)
	require.NotContains(t, err.Error(), "swordfish")
}

// TestQuoteKey holds that a key as Postgres prints it is read back.
func TestQuoteKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "id", `q"b\`, "ü\b\f\n\r\t\x01\x1f\x7f", "a b"} {
		key, next, err := readKey(quoteKey(name), 0)
		require.NoError(t, err)
		require.Equal(t, name, key)
		require.Len(t, quoteKey(name), next)
	}
}

// TestReadInt walks around the limits of int64.
func TestReadInt(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]int64{
		"0": 0, "-0": 0, "7": 7, "9223372036854775807": 9223372036854775807, "-9223372036854775808": -9223372036854775808, "1000000000000000000": 1e18,
	} {
		got, end, ok := readInt(token+",", 0)
		require.True(t, ok, token)
		require.Equal(t, want, got)
		require.Len(t, token, end)
	}
	for _, token := range []string{"", "-", "01", "-01", "1.0", "1e2", "1E2", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "x", "+1"} {
		_, _, ok := readInt(token, 0)
		require.False(t, ok, token)
	}
}

func TestUnescapeMatchesJSON(t *testing.T) {
	t.Parallel()
	// Every byte after a backslash, and every byte alone, at every place in a word.
	for c := range 256 {
		for pad := range 9 {
			for _, inside := range []string{string([]byte{byte(c)}), string([]byte{'\\', byte(c)}), fmt.Sprintf(`\u%04x`, c*257)} {
				src := `"` + strings.Repeat("x", pad) + inside + `yyyyyyyyy"`
				var want string
				jsonErr := json.NewDecoder(bytes.NewReader([]byte(src))).Decode(&want)
				got, end, err := cloneString(src, 0)
				require.Equal(t, jsonErr == nil, err == nil, "%q", src)
				if err == nil && c != '"' {
					require.Equal(t, want, got)
					require.Len(t, src, end)
				}
			}
		}
	}
}
