package row_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

// readers are the connections whose SELECTs are compared with.
var readers = []struct {
	name   string
	params string
	config postgres.Config
	fields []fieldType
}{
	{name: "Plain", fields: fieldTypes},
	{name: "NewYork", params: "TimeZone=America/New_York", fields: zonedTypes},
	{name: "SimpleProtocol", params: "TimeZone=Asia/Kathmandu", config: postgres.Config{PreferSimpleProtocol: true}, fields: zonedTypes},
}

// TestParity holds that decoding what a trigger captured gives what GORM's
// SELECT gives, for every column type and many types of fields: the same value,
// or an error in both.
func TestParity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("Differs", b.differs)
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			t.Parallel()
			config := reader.config
			config.DSN = withParams(b.url, reader.params)
			db, err := gorm.Open(postgres.New(config), &gorm.Config{Logger: logger.Discard})
			require.NoError(t, err)
			pool, err := db.DB()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, pool.Close()) })
			options, err := row.Probe(t.Context(), pool)
			require.NoError(t, err)
			require.NotNil(t, options.Zone)
			compared := 0
			for _, c := range b.cases {
				cols, err := row.Columns(t.Context(), pool, b.tables[c.name])
				require.NoError(t, err)
				for _, field := range reader.fields {
					compared += b.compare(t, db, options, c, cols, field)
				}
			}
			t.Logf("%d column types, %d field types, %d values compared", len(b.cases), len(reader.fields), compared)
		})
	}
}

func withParams(url, params string) string {
	switch {
	case params == "":
		return url
	case strings.Contains(url, "?"):
		return url + "&" + params
	default:
		return url + "?" + params
	}
}

// compare reads a case's rows into a model with a field of a type, in both
// ways, and returns how many values it compared.
func (b *bench) compare(t *testing.T, db *gorm.DB, o row.Options, c columnCase, cols []row.Column, field fieldType) int {
	t.Helper()
	model := modelOf(c.name, field)
	s, err := schema.Parse(reflect.New(model).Interface(), &sync.Map{}, db.NamingStrategy)
	require.NoError(t, err, "%s into %s", c.name, field.typ)
	plan, err := row.Compile(s, cols, o)
	require.NoError(t, err)
	rows, err := db.WithContext(t.Context()).Table(b.tables[c.name]).Order("row_id").Rows()
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		selected := reflect.New(model)
		selectErr := db.ScanRows(rows, selected.Interface())
		payload := b.payloads[c.name][n]
		decoded := dirty(model)
		decodeErr := plan.Decode(t.Context(), payload, decoded)
		same := (selectErr == nil) == (decodeErr == nil) && (selectErr != nil || equal(selected.Elem(), decoded))
		if r, ok := selected.Elem().Field(1).Interface().(recorder); ok && n < len(c.values) {
			require.NotNil(t, r.Got, "%s, value %d: nothing to compare", c.name, n)
		}
		if reason, ok := c.unequal[n]; ok {
			// Only the recorder is sure to show the difference.
			if field.typ == reflect.TypeFor[recorder]() {
				require.False(t, same, "%s, value %d: equal, though %s", c.name, n, reason)
			}
			continue
		}
		if !same {
			t.Errorf("%s %s into %s\n payload %.300s\n select  %v %s\n decode  %v %s", c.name, c.sql, field.typ, payload,
				selectErr, show(selected.Elem()), decodeErr, show(decoded))
		}
	}
	require.NoError(t, rows.Err())
	require.Equal(t, len(b.payloads[c.name]), n)
	return n
}

// modelOf makes a model with the case's column as its only field.
func modelOf(column string, field fieldType) reflect.Type {
	tag := fmt.Sprintf("gorm:%q", "column:"+column+field.tag)
	return reflect.StructOf([]reflect.StructField{
		{Name: "RowID", Type: reflect.TypeFor[int64](), Tag: `gorm:"primaryKey"`},
		{Name: "V", Type: field.typ, Tag: reflect.StructTag(tag)},
	})
}

// dirty returns a settable value that has something in its fields already, as
// a slice element that is used again has.
func dirty(model reflect.Type) reflect.Value {
	v := reflect.New(model).Elem()
	switch f := v.Field(1); f.Kind() {
	case reflect.Int64, reflect.Int32:
		f.SetInt(77)
	case reflect.String:
		f.SetString("old")
	case reflect.Struct:
		if r, ok := f.Addr().Interface().(*recorder); ok {
			r.Got = "old"
		}
	}
	return v
}

// TestFind compares whole rows of one wide model, as GORM's Find reads them.
func TestFind(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	ctx := t.Context()
	db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	require.NoError(t, db.AutoMigrate(&wide{}))
	require.NoError(t, db.Exec(capture).Error)
	require.NoError(t, db.Exec(`ALTER TABLE wides ADD COLUMN row_id int8 GENERATED ALWAYS AS IDENTITY, ADD COLUMN beyond text DEFAULT 'x'`).Error)
	require.NoError(t, db.Exec(`CREATE TRIGGER capture AFTER INSERT ON wides REFERENCING NEW TABLE AS new_rows EXECUTE FUNCTION capture()`).Error)
	require.NoError(t, db.Create(wides()).Error)

	var selected []wide
	require.NoError(t, db.Unscoped().Order("id").Find(&selected).Error)
	var payloads []string
	require.NoError(t, db.Raw(`SELECT payload::text FROM captured ORDER BY id`).Scan(&payloads).Error)
	require.Len(t, payloads, len(selected))

	plan := compile[wide](ctx, t, db, "wides")
	for i, payload := range payloads {
		var decoded wide
		require.NoError(t, plan.Decode(ctx, payload, reflect.ValueOf(&decoded).Elem()))
		require.True(t, equal(reflect.ValueOf(selected[i]), reflect.ValueOf(decoded)), "row %d\n%+v\n%+v", i, selected[i], decoded)
		require.Empty(t, plan.Missing(payload))
		require.Equal(t, []string{"row_id", "beyond"}, plan.Unknown(payload))
	}
}

func compile[M any](ctx context.Context, tb testing.TB, db *gorm.DB, table string) *row.Plan {
	tb.Helper()
	pool, err := db.DB()
	require.NoError(tb, err)
	options, err := row.Probe(ctx, pool)
	require.NoError(tb, err)
	cols, err := row.Columns(ctx, pool, table)
	require.NoError(tb, err)
	s, err := schema.Parse(new(M), &sync.Map{}, db.NamingStrategy)
	require.NoError(tb, err)
	plan, err := row.Compile(s, cols, options)
	require.NoError(tb, err)
	return plan
}

// differs holds that plans report the differences that the cases list, and no
// others.
func (b *bench) differs(t *testing.T) {
	t.Parallel()
	options, err := row.Probe(t.Context(), b.db)
	require.NoError(t, err)
	causes := func(c columnCase, o row.Options) []row.Cause {
		s, err := schema.Parse(reflect.New(modelOf(c.name, fieldType{typ: reflect.TypeFor[string]()})).Interface(), &sync.Map{}, schema.NamingStrategy{})
		require.NoError(t, err)
		cols, err := row.Columns(t.Context(), b.db, b.tables[c.name])
		require.NoError(t, err)
		plan, err := row.Compile(s, cols, o)
		require.NoError(t, err)
		var out []row.Cause
		for _, d := range plan.Differs() {
			require.Equal(t, c.name, d.Column)
			require.NotEqual(t, row.Cause(0).String(), d.Cause.String())
			out = append(out, d.Cause)
		}
		return out
	}
	for _, c := range b.cases {
		require.Equal(t, c.differs, causes(c, options), "%s", c.name)
		want := slices.Clone(c.differs)
		if c.zoned {
			want = append(want, row.UnknownZone)
		}
		require.Equal(t, want, causes(c, row.Options{}), "%s without a zone", c.name)
		require.False(t, len(c.unequal) > 0 && len(c.differs) == 0, "%s: unequal values without a cause", c.name)
	}
}
