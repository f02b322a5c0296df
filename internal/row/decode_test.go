package row_test

import (
	"context"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

func orderPlan(tb testing.TB) *row.Plan {
	tb.Helper()
	plan, err := row.Compile(parse[order](tb), orderColumns(), row.Options{})
	require.NoError(tb, err)
	return plan
}

func decodeOrder(t *testing.T, src string) (order, error) {
	t.Helper()
	var o order
	err := orderPlan(t).Decode(t.Context(), src, reflect.ValueOf(&o).Elem())
	return o, err
}

func wantOrder() order {
	note := "first"
	return order{
		ID: 9007199254740993, Name: "Ada Lovelace", Email: "ada@example.org", Status: "confirmed", Active: true, Score: 0.30000000000000004, Count: 42,
		CreatedAt: time.Unix(1704164645, 123456000), UpdatedAt: time.Unix(1719889445, 100000000), Note: &note,
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"AsPrinted": orderRow,
		"Spaced":    " { " + strings.ReplaceAll(strings.ReplaceAll(orderRow[1:], `":`, "\" :\t"), `,"`, " ,\n \"") + "\r\n",
		"AnotherOrder": `{"note":"first","updated_at":"2024-07-02T03:04:05.1+00:00","created_at":"2024-01-02T03:04:05.123456+00:00","count":42,` +
			`"score":0.30000000000000004,"active":true,"status":"confirmed","email":"ada@example.org","name":"Ada Lovelace","id":9007199254740993}`,
		"EscapedKeys":  strings.ReplaceAll(orderRow, `"name"`, `"\u006eame"`),
		"UnknownKeys":  strings.ReplaceAll(orderRow, `"name"`, `"new":{"a":[1,{"name":2}]},"Name ":null,"name"`),
		"RepeatedKeys": strings.ReplaceAll(orderRow, `"name"`, `"name":"first","id":1,"id":9007199254740993,"name"`),
		"OtherZone":    strings.ReplaceAll(orderRow, "2024-01-02T03:04:05.123456+00:00", "2024-01-02 08:49:05.123456+05:45"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeOrder(t, src)
			require.NoError(t, err)
			require.Equal(t, wantOrder(), got)
		})
	}
}

// TestDecodeChangedType holds what becomes of a payload from a time when a
// column had another type.
func TestDecodeChangedType(t *testing.T) {
	t.Parallel()
	note := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		src  string
		want order
	}{
		"NumberForText":   {`{"name":5,"note":1.50}`, order{Name: "5", Note: note("1.50")}},
		"BoolForText":     {`{"name":true}`, order{Name: "true"}},
		"JSONForText":     {`{"name": {"a": [1]} }`, order{Name: `{"a": [1]}`}},
		"TextForNumber":   {`{"id":"42","count":"-7","score":"1.5"}`, order{ID: 42, Count: -7, Score: 1.5}},
		"NumericForInt":   {`{"id":42}`, order{ID: 42}},
		"IntForBool":      {`{"active":1}`, order{Active: true}},
		"TextForBool":     {`{"active":"t"}`, order{Active: true}},
		"IntForFloat":     {`{"score":9007199254740993}`, order{Score: 9007199254740992}},
		"NaNForFloat":     {`{"score":"Infinity"}`, order{Score: math.Inf(1)}},
		"NullForAnything": {`{"id":null,"name":null,"active":null,"score":null,"created_at":null,"note":null}`, order{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeOrder(t, c.src)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// TestDecodeAt reads rows that are packed into one array, past one that can't
// be decoded.
func TestDecodeAt(t *testing.T) {
	t.Parallel()
	plan := orderPlan(t)
	src := `[{"id":1}, {"id":"x","name":"]}"},{"id":3} ]`
	var ids []int64
	failed := 0
	for pos := 1; ; pos++ {
		o := order{ID: 99}
		next, err := plan.DecodeAt(t.Context(), src, pos, reflect.ValueOf(&o).Elem())
		if err != nil {
			failed++
			require.Equal(t, pos, next)
			next, err = row.Skip(src, pos)
			require.NoError(t, err)
		}
		ids = append(ids, o.ID)
		if pos = next; src[pos] != ',' {
			break
		}
	}
	require.Equal(t, []int64{1, 0, 3}, ids)
	require.Equal(t, 1, failed)
	for _, pos := range []int{-1, len(src), len(src) + 1} {
		var o order
		_, err := plan.DecodeAt(t.Context(), src, pos, reflect.ValueOf(&o).Elem())
		require.Error(t, err)
	}
}

func TestDecodeTarget(t *testing.T) {
	t.Parallel()
	plan := orderPlan(t)
	require.Error(t, plan.Decode(t.Context(), orderRow, reflect.ValueOf(order{})))
	require.Error(t, plan.Decode(t.Context(), orderRow, reflect.ValueOf(&order{})))
	require.Error(t, plan.Decode(t.Context(), orderRow, reflect.ValueOf(new(int)).Elem()))
	_, err := row.Compile(nil, nil, row.Options{})
	require.Error(t, err)
	for _, typ := range []*row.Type{nil, {Kind: row.Array}, {Kind: row.Range}, {Kind: row.Composite, Attrs: []row.Column{{Name: "a"}}}} {
		_, err = row.Compile(parse[order](t), []row.Column{{Name: "id", Type: typ}}, row.Options{})
		require.ErrorContains(t, err, `"id"`)
	}
}

func TestMissingUnknown(t *testing.T) {
	t.Parallel()
	plan := orderPlan(t)
	require.Empty(t, plan.Missing(orderRow))
	require.Empty(t, plan.Unknown(orderRow))
	older := `{"id":1,"dropped":{"id":2},"na\u006de":"x","Dr\u00f6pped":1}`
	require.Equal(t, []string{"email", "status", "active", "score", "count", "created_at", "updated_at", "note"}, plan.Missing(older))
	require.Equal(t, []string{"dropped", "Dröpped"}, plan.Unknown(older))
	require.Len(t, plan.Missing(`{"id":1,"name"`), 9)
	for _, src := range []string{"", "[]", "{", `{"id"`} {
		require.Len(t, plan.Missing(src), 10)
		require.Empty(t, plan.Unknown(src))
	}
}

// owner has fields of which the table knows nothing.
type owner struct {
	ID    int64
	Since time.Time
	Until *time.Time
	Day   time.Time
	Key   []byte
	Rank  int
	Label string
	Free  bool
}

// TestNoColumn decodes columns that the table doesn't have any more.
func TestNoColumn(t *testing.T) {
	t.Parallel()
	cols := orderColumns()[:1]
	plan, err := row.Compile(parse[owner](t), cols, row.Options{})
	require.NoError(t, err)
	var got owner
	src := `{"id":1,"since":"2024-01-02T03:04:05+00:00","until":"2024-01-02T03:04:05","day":"2024-01-02","key":"\\x00ff","rank":3,"label":"x","free":true}`
	require.NoError(t, plan.Decode(t.Context(), src, reflect.ValueOf(&got).Elem()))
	until := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	require.Equal(t, owner{
		ID: 1, Since: until.Local(), Until: &until, Day: time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC), Key: []byte{0, 255}, Rank: 3, Label: "x", Free: true,
	}, got)
	require.Empty(t, plan.Differs())
}

// TestDecodeKeepsNoSource holds that no field shares memory with a source of
// more than 1 KiB.
func TestDecodeKeepsNoSource(t *testing.T) {
	t.Parallel()
	type model struct {
		ID    int64
		Text  string
		Wide  string
		Null  recorder
		JSON  string
		Price string
		Bytes []byte
		Other *string
		Array string
	}
	oids := map[string]uint32{"id": 20, "text": 25, "wide": 25, "null": 25, "json": 3802, "price": 1700, "bytes": 25, "other": 25, "array": 25}
	var cols []row.Column
	for _, name := range []string{"id", "text", "wide", "null", "json", "price", "bytes", "other", "array"} {
		cols = append(cols, row.Column{Name: name, Type: &row.Type{OID: oids[name]}})
	}
	plan, err := row.Compile(parse[model](t), cols, row.Options{})
	require.NoError(t, err)
	src := `{"id":1,"text":"plain text","wide":"äöü","null":"recorded","json":{"a": 1},"price":123.456,"bytes":"bytes","other":"other","array":[1, 2]}` + strings.Repeat(" ", 1<<10)
	var m model
	require.NoError(t, plan.Decode(t.Context(), src, reflect.ValueOf(&m).Elem()))
	from := uintptr(unsafe.Pointer(unsafe.StringData(src)))
	for _, s := range []string{m.Text, m.Wide, m.Null.Got.(string), m.JSON, m.Price, *m.Other, m.Array} {
		at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
		require.False(t, from <= at && at < from+uintptr(len(src)), "%q is a part of the source", s)
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(m.Bytes)))
	require.False(t, from <= at && at < from+uintptr(len(src)))
}

// TestDecodeConcurrently uses one plan from many goroutines.
func TestDecodeConcurrently(t *testing.T) {
	t.Parallel()
	plan, want := orderPlan(t), wantOrder()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				var o order
				err := plan.Decode(context.Background(), orderRow, reflect.ValueOf(&o).Elem())
				if err != nil || !reflect.DeepEqual(want, o) {
					t.Errorf("%v %+v", err, o)
				}
				plan.Missing(orderRow)
				plan.Differs()
			}
		})
	}
	wg.Wait()
}

// TestAllocations holds the decoder to its strings and pointers.
func TestAllocations(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts the whole process
	plan := orderPlan(t)
	var o order
	dst := reflect.ValueOf(&o).Elem()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if err := plan.Decode(context.Background(), orderRow, dst); err != nil {
			t.Error(err)
		}
	}), 5.0)
}
