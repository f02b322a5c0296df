package row_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	db := open(t, newDatabase(t))
	_, err := db.ExecContext(t.Context(), `
		CREATE SCHEMA "Odd Schema";
		CREATE DOMAIN whole AS int NOT NULL;
		CREATE DOMAIN nested AS whole;
		CREATE TYPE inner_type AS (a whole, b text[]);
		CREATE TABLE "Odd Schema"."Odd ""Table" (id int8 PRIMARY KEY, gone int, w whole, n nested, c inner_type[], r tstzrange, b box[], v int2vector);
		ALTER TABLE "Odd Schema"."Odd ""Table" DROP COLUMN gone;
		CREATE TABLE tree (id int, parent_id int);
		CREATE TYPE holder AS (t tree, ts tree[]);
		ALTER TABLE tree ADD COLUMN name text`)
	require.NoError(t, err)
	cols, err := row.Columns(t.Context(), db, `"Odd Schema"."Odd ""Table"`)
	require.NoError(t, err)
	int4 := &row.Type{OID: 23, Name: "int4"}
	text := &row.Type{OID: 25, Name: "text"}
	require.Len(t, cols, 7)
	require.Equal(t, row.Column{Name: "id", NotNull: true, Type: &row.Type{OID: 20, Name: "int8"}}, cols[0])
	require.Equal(t, row.Column{Name: "w", NotNull: true, Type: int4}, cols[1])
	require.Equal(t, row.Column{Name: "n", NotNull: true, Type: int4}, cols[2])
	require.Equal(t, row.Array, cols[3].Type.Kind)
	require.Equal(t, row.Composite, cols[3].Type.Elem.Kind)
	require.Equal(t, []row.Column{
		{Name: "a", NotNull: true, Type: int4},
		{Name: "b", Type: &row.Type{OID: 1009, Name: "_text", Kind: row.Array, Elem: text, Delim: ','}},
	}, cols[3].Type.Elem.Attrs)
	require.Equal(t, row.Range, cols[4].Type.Kind)
	require.Equal(t, "timestamptz", cols[4].Type.Elem.Name)
	require.Equal(t, byte(';'), cols[5].Type.Delim)
	require.Equal(t, row.Array, cols[6].Type.Kind)

	// In a transaction, too, and a table's row as a type.
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer tx.Rollback()
	cols, err = row.Columns(t.Context(), tx, "holder")
	require.NoError(t, err)
	require.Len(t, cols[0].Type.Attrs, 3)
	require.Same(t, cols[0].Type, cols[1].Type.Elem)

	_, err = row.Columns(t.Context(), db, "nowhere")
	require.ErrorContains(t, err, "nowhere")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = row.Columns(ctx, db, "tree")
	require.ErrorIs(t, err, context.Canceled)
	_, err = row.Probe(ctx, db)
	require.ErrorIs(t, err, context.Canceled)
}

// TestVirtualColumn holds that a column without a value in triggers is
// reported, on a server that knows such columns.
func TestVirtualColumn(t *testing.T) {
	t.Parallel()
	db := open(t, newDatabase(t))
	var version int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT current_setting('server_version_num')::int`).Scan(&version))
	want := version >= 180000
	kind := "STORED"
	if want {
		kind = "VIRTUAL"
	}
	_, err := db.ExecContext(t.Context(), fmt.Sprintf(`CREATE TABLE orders (id int8, count int GENERATED ALWAYS AS (id * 2) %s)`, kind))
	require.NoError(t, err)
	cols, err := row.Columns(t.Context(), db, "orders")
	require.NoError(t, err)
	require.Equal(t, want, cols[1].Virtual)
	cols[1].Virtual = true
	plan, err := row.Compile(parse[order](t), cols, row.Options{})
	require.NoError(t, err)
	require.Contains(t, plan.Differs(), row.Difference{Column: "count", Cause: row.VirtualColumn})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	probe := func(params string) row.Options {
		o, err := row.Probe(t.Context(), open(t, withParams(url, params)))
		require.NoError(t, err)
		return o
	}
	o := probe("TimeZone=Europe/Berlin")
	require.Equal(t, "Europe/Berlin", o.Zone.String())
	require.Equal(t, time.UTC, o.Timestamp)
	require.Equal(t, time.Local, o.Timestamptz)
	require.Zero(t, o.Unusual)
	require.Nil(t, probe("TimeZone=%3C%2B03%3E-03").Zone, "a zone that Go doesn't know")
	for params, want := range map[string]row.Setting{
		"DateStyle=German":                  row.DateStyle,
		"IntervalStyle=iso_8601":            row.IntervalStyle,
		"bytea_output=escape":               row.ByteaOutput,
		"extra_float_digits=0":              row.ExtraFloatDigits,
		"DateStyle=SQL&bytea_output=escape": row.DateStyle | row.ByteaOutput,
		"DateStyle=ISO,DMY":                 0,
	} {
		require.Equal(t, want, probe(params).Unusual, params)
	}
}

// TestUnusualSession holds which columns are reported when the reading session
// prints values in its own way.
func TestUnusualSession(t *testing.T) {
	t.Parallel()
	array := func(oid uint32) *row.Type {
		return &row.Type{Kind: row.Array, Delim: ',', Elem: &row.Type{OID: oid}}
	}
	type model struct{ V string }
	for name, c := range map[string]struct {
		typ     *row.Type
		unusual row.Setting
		want    bool
	}{
		"Date":         {&row.Type{OID: 1082}, row.DateStyle, false},
		"DateArray":    {array(1082), row.DateStyle, true},
		"DateRange":    {&row.Type{Kind: row.Range, Elem: &row.Type{OID: 1082}}, row.DateStyle, true},
		"Interval":     {&row.Type{OID: 1186}, row.IntervalStyle, true},
		"IntervalDate": {&row.Type{OID: 1186}, row.DateStyle, false},
		"Bytea":        {&row.Type{OID: 17}, row.ByteaOutput, false},
		"ByteaArray":   {array(17), row.ByteaOutput, true},
		"Float":        {&row.Type{OID: 701}, row.ExtraFloatDigits, false},
		"FloatArray":   {array(701), row.ExtraFloatDigits, true},
		"Point":        {&row.Type{OID: 600}, row.ExtraFloatDigits, true},
		"Cube":         {&row.Type{OID: 20000, Name: "cube"}, row.ExtraFloatDigits, true},
		"Numeric":      {array(1700), row.ExtraFloatDigits, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, err := row.Compile(parse[model](t), []row.Column{{Name: "v", Type: c.typ}}, row.Options{Zone: time.UTC, Unusual: c.unusual})
			require.NoError(t, err)
			difference := row.Difference{Column: "v", Cause: row.SessionSetting}
			if c.want {
				require.Contains(t, plan.Differs(), difference)
			} else {
				require.NotContains(t, plan.Differs(), difference)
			}
		})
	}
}

// TestNullIsZero holds that a field that reads a json null and an SQL NULL alike
// isn't reported.
func TestNullIsZero(t *testing.T) {
	t.Parallel()
	type model struct {
		A []string `gorm:"serializer:json"`
		B document
		C document `gorm:"serializer:json"`
	}
	var cols []row.Column
	for _, name := range []string{"a", "b", "c"} {
		cols = append(cols, row.Column{Name: name, Type: &row.Type{OID: 3802}})
	}
	plan, err := row.Compile(parse[model](t), cols, row.Options{})
	require.NoError(t, err)
	require.Equal(t, []row.Difference{{Column: "b", Cause: row.JSONNull}}, plan.Differs())
}
