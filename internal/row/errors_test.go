package row_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ src, column, reason string }{
		"TextForInt":      {`{"id":"swordfish"}`, "id", "text can't be stored in int64: invalid syntax"},
		"TooLarge":        {`{"count":2147483648}`, "count", "an integer can't be stored in int32: value out of range"},
		"Beyond64Bits":    {`{"id":9223372036854775808}`, "id", "text can't be stored in int64: value out of range"},
		"Fraction":        {`{"count":1.5}`, "count", "text can't be stored in int32: invalid syntax"},
		"BoolForInt":      {`{"count":true}`, "count", "a boolean can't be stored in int32: invalid syntax"},
		"TextForBool":     {`{"active":"swordfish"}`, "active", "text can't be stored in bool"},
		"TextForTime":     {`{"created_at":"swordfish"}`, "created_at", "text can't be stored in time.Time"},
		"NumberForTime":   {`{"created_at":1704164645}`, "created_at", "an integer can't be stored in time.Time"},
		"NoZone":          {`{"created_at":"2024-01-02T03:04:05"}`, "created_at", "text can't be stored in time.Time"},
		"NoTime":          {`{"created_at":"2024-01-02"}`, "created_at", "text can't be stored in time.Time"},
		"Infinity":        {`{"created_at":"infinity"}`, "created_at", "text can't be stored in time.Time"},
		"HugeFloat":       {`{"score":1e400}`, "score", "text can't be stored in float64: value out of range"},
		"Empty":           {``, "", "expected a JSON object"},
		"NoObject":        {`[1]`, "", "expected a JSON object"},
		"Null":            {`null`, "", "expected a JSON object"},
		"Cut":             {`{"id":1,"name":"swordf`, "", "unexpected end of a JSON string"},
		"CutInTime":       {`{"created_at":"2024-01-02T03:04:05`, "", "unexpected end of a JSON string"},
		"CutAfterKey":     {`{"id":`, "", "unexpected end of JSON"},
		"CutAfterValue":   {`{"id":1`, "", "unexpected end of JSON"},
		"CommaAtEnd":      {`{"id":1,}`, "", "expected an object key"},
		"LeadingZero":     {`{"id":01}`, "", "expected a comma or the end of an array or object"},
		"BadTrue":         {`{"active":trueish}`, "", "expected a comma or the end of an array or object"},
		"BadNull":         {`{"note":nul}`, "", "invalid JSON literal"},
		"BadUnknown":      {`{"new":[1 2]}`, "", "expected a comma or the end of an array or object"},
		"After":           {`{"id":1} {}`, "", "unexpected text after the row"},
		"ControlInString": {"{\"name\":\"a\nb\"}", "", "control character in a JSON string"},
		"TooDeep":         {`{"new":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, "", "nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeOrder(t, c.src)
			var decodeError *row.DecodeError
			require.ErrorAs(t, err, &decodeError)
			require.Equal(t, c.column, decodeError.Column)
			require.Equal(t, c.reason, decodeError.Reason)
			require.NotContains(t, err.Error(), "swordf")
			require.Zero(t, got)
		})
	}
}

type failing struct{ Mode string }

var errFailing = errors.New("failing: swordfish")

func (f *failing) Scan(v any) error {
	if v == "panic" {
		panic("swordfish")
	}
	return errFailing
}

func (failing) GormDataType() string { return "text" }

// TestModelCode holds that what a Scanner returns or panics with ends in a
// DecodeError, without its text.
func TestModelCode(t *testing.T) {
	t.Parallel()
	type model struct {
		ID      int64
		Failing failing
		Pointer *failing
		Tags    []string `gorm:"serializer:json"`
	}
	var cols []row.Column
	for _, name := range []string{"id", "failing", "pointer", "tags"} {
		cols = append(cols, row.Column{Name: name, Type: &row.Type{OID: 25}})
	}
	plan, err := row.Compile(parse[model](t), cols, row.Options{})
	require.NoError(t, err)
	decode := func(src string) *row.DecodeError {
		var m model
		err := plan.Decode(t.Context(), src, reflect.ValueOf(&m).Elem())
		var decodeError *row.DecodeError
		require.ErrorAs(t, err, &decodeError)
		require.NotContains(t, err.Error(), "swordfish")
		return decodeError
	}
	require.ErrorIs(t, decode(`{"failing":"x"}`), errFailing)
	require.ErrorIs(t, decode(`{"pointer":"x"}`), errFailing)
	var panicked *row.PanicError
	require.ErrorAs(t, decode(`{"id":1,"failing":"panic"}`), &panicked)
	require.Equal(t, "swordfish", panicked.Value)
	require.Contains(t, string(panicked.Stack), "Scan")
	require.NotContains(t, panicked.Error(), "swordfish")
	require.Equal(t, "tags", decode(`{"tags":"{swordfish"}`).Column)
}
