package row

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo is a database/sql driver whose queries return their argument.
type echo struct{}

func (echo) Connect(context.Context) (driver.Conn, error) { return echo{}, nil }
func (echo) Driver() driver.Driver                        { return nil }
func (echo) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (echo) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (echo) Close() error                                 { return nil }
func (echo) CheckNamedValue(*driver.NamedValue) error     { return nil }

func (echo) QueryContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	return &echoRows{value: args[0].Value}, nil
}

type echoRows struct {
	value driver.Value
	done  bool
}

func (*echoRows) Columns() []string { return []string{"v"} }
func (*echoRows) Close() error      { return nil }

func (r *echoRows) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = r.value
	return nil
}

type (
	ownInt    int32
	ownUint   uint16
	ownFloat  float32
	ownBool   bool
	ownString string
	ownBytes  []byte
	ownTime   time.Time
	ownScan   struct{ got any }
)

func (o *ownScan) Scan(v any) error {
	if v == nil {
		return errors.New("no NULL, please")
	}
	o.got = v
	return nil
}

// TestAssign holds assign to what database/sql does with the same values and
// destinations.
func TestAssign(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(echo{})
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for _, dst := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
		reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[bool](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](),
		reflect.TypeFor[any](), reflect.TypeFor[time.Time](), reflect.TypeFor[ownInt](), reflect.TypeFor[ownUint](), reflect.TypeFor[ownFloat](),
		reflect.TypeFor[ownBool](), reflect.TypeFor[ownString](), reflect.TypeFor[ownBytes](), reflect.TypeFor[ownTime](), reflect.TypeFor[ownScan](),
		reflect.TypeFor[json.RawMessage](), reflect.TypeFor[sql.NullString](), reflect.TypeFor[sql.Null[int32]](), reflect.TypeFor[[16]byte](),
		reflect.TypeFor[[]string](), reflect.TypeFor[map[string]any](), reflect.TypeFor[struct{}](), reflect.TypeFor[uintptr](), reflect.TypeFor[complex128](),
		reflect.TypeFor[*int](), reflect.TypeFor[**int](), reflect.TypeFor[*string](), reflect.TypeFor[*[]byte](), reflect.TypeFor[*any](),
		reflect.TypeFor[*ownScan](), reflect.TypeFor[**ownScan](), reflect.TypeFor[*time.Time](), reflect.TypeFor[*ownBytes](), reflect.TypeFor[**bool](),
	} {
		for _, src := range []driver.Value{
			nil, int64(0), int64(1), int64(-1), int64(255), int64(256), int64(65536), int64(math.MaxInt64), int64(math.MinInt64), 0.0, 1.0, 1e6, 1e20, -1.5,
			math.NaN(), math.Inf(-1), math.MaxFloat64, 1.00000005960464477539, true, false, "", "1", "-1", "300", "1.5", "0x10", "1_000", "true", "T", "yes", "NaN",
			"text", "9223372036854775808",
			[]byte{},
			[]byte("1"), []byte("true"), []byte("x"), time.Unix(1, 5).UTC(),
			time.Time{},
		} {
			want, got := reflect.New(dst), reflect.New(dst)
			wantErr := db.QueryRowContext(t.Context(), "", src).Scan(want.Interface())
			err := assign(got.Interface(), src)
			name := fmt.Sprintf("%T %v into %s", src, src, dst)
			require.Equal(t, wantErr == nil, err == nil, "%s: database/sql %v, assign %v", name, wantErr, err)
			if err == nil && !reflect.DeepEqual(want.Elem().Interface(), got.Elem().Interface()) {
				// Printed, NaN equals itself.
				require.Equal(t, printed(want), printed(got), name)
			}
		}
	}
	require.Error(t, assign(5, int64(1)))
	require.Error(t, assign((*ownInt)(nil), int64(1)))
}

func printed(v reflect.Value) string {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return fmt.Sprintf("%#v", v)
}

// TestAssignClones holds that a destination has bytes of its own.
func TestAssignClones(t *testing.T) {
	t.Parallel()
	src := []byte("abc")
	var plain []byte
	var own ownBytes
	require.NoError(t, assign(&plain, src))
	require.NoError(t, assign(&own, src))
	src[0] = 'x'
	require.Equal(t, "abc", string(plain))
	require.Equal(t, "abc", string(own))
}
