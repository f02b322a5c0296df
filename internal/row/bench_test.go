package row_test

import (
	"context"
	"encoding/json"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/internal/row"
)

// order is the row of ten columns that the benchmarks decode.
type order struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Status    string    `json:"status"`
	Active    bool      `json:"active"`
	Score     float64   `json:"score"`
	Count     int32     `json:"count"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Note      *string   `json:"note"`
}

const orderRow = `{"id":9007199254740993,"name":"Ada Lovelace","email":"ada@example.org","status":"confirmed","active":true,` +
	`"score":0.30000000000000004,"count":42,"created_at":"2024-01-02T03:04:05.123456+00:00","updated_at":"2024-07-02T03:04:05.1+00:00","note":"first"}`

func orderColumns() []row.Column {
	oids := []uint32{20, 25, 25, 25, 16, 701, 23, 1184, 1184, 25}
	names := []string{"id", "name", "email", "status", "active", "score", "count", "created_at", "updated_at", "note"}
	cols := make([]row.Column, 0, len(names))
	for i, name := range names {
		cols = append(cols, row.Column{Name: name, Type: &row.Type{OID: oids[i]}})
	}
	return cols
}

func parse[M any](tb testing.TB) *schema.Schema {
	tb.Helper()
	s, err := schema.Parse(new(M), &sync.Map{}, schema.NamingStrategy{})
	require.NoError(tb, err)
	return s
}

func BenchmarkDecode(b *testing.B) {
	ctx := context.Background()
	s := parse[order](b)
	plan, err := row.Compile(s, orderColumns(), row.Options{})
	require.NoError(b, err)

	b.Run("Plan", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		var o order
		dst := reflect.ValueOf(&o).Elem()
		for b.Loop() {
			if err := plan.Decode(ctx, orderRow, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("PlanParallel", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		b.RunParallel(func(pb *testing.PB) {
			var o order
			dst := reflect.ValueOf(&o).Elem()
			for pb.Next() {
				if err := plan.Decode(ctx, orderRow, dst); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("JSONStruct", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		for b.Loop() {
			var o order
			if err := json.Unmarshal([]byte(orderRow), &o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSONMapFieldSet", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		var o order
		dst := reflect.ValueOf(&o).Elem()
		for b.Loop() {
			var m map[string]any
			if err := json.Unmarshal([]byte(orderRow), &m); err != nil {
				b.Fatal(err)
			}
			dst.SetZero()
			for name, v := range m {
				if err := s.LookUpField(name).Set(ctx, dst, v); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("Skip", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		for b.Loop() {
			if _, err := row.Skip(orderRow, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSONValid", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(orderRow)))
		src := []byte(orderRow)
		for b.Loop() {
			if !json.Valid(src) {
				b.Fatal("invalid")
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	s, cols := parse[order](b), orderColumns()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := row.Compile(s, cols, row.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
