package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// cargo is the model of tests with much in them.
type cargo struct {
	ID   int64
	Body string
}

// delivered is one event, small enough to keep many.
type delivered struct {
	id, event int64
	whole     bool
}

// cargoBody is the row's text: it starts like no other's, has length bytes, and
// every third character takes three of them.
func cargoBody(id int64, length int) string {
	b := fmt.Sprintf("%d\t\"\\", id)
	if n := (length - len(b)) / 5; n > 0 {
		b += strings.Repeat("a€b", n)
	}
	return b + strings.Repeat("x", max(0, length-len(b)))
}

func cargoInbox(r *listener.Registry, length func(id int64) int) inbox[delivered] {
	in := newInbox[delivered]()
	hooks.OnInsert(&cargo{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[cargo]) error {
		in <- delivered{p.New.ID, p.EventID, p.New.Body == cargoBody(p.New.ID, length(p.New.ID))}
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("cargo"))
	return in
}

// insertCargo writes rows from 1 to n in one statement.
func insertCargo(t *testing.T, db *gorm.DB, n, length int) {
	t.Helper()
	rows := make([]cargo, n)
	for i := range rows {
		rows[i] = cargo{ID: int64(i + 1), Body: cargoBody(int64(i+1), length)}
	}
	require.NoError(t, db.Create(&rows).Error)
}

// checkCargo fails unless rows 1 to n arrived in order, each once and whole. It
// returns how many notifications brought them.
func checkCargo(t *testing.T, all []delivered) (notifications int) {
	t.Helper()
	events := make([]int64, len(all))
	for n, d := range all {
		require.EqualValues(t, n+1, d.id)
		require.True(t, d.whole, "row %d", d.id)
		events[n] = d.event
	}
	require.True(t, slices.IsSorted(events))
	return len(slices.Compact(events))
}

func TestManyRowsInFewNotifications(t *testing.T) {
	t.Parallel()
	const rows, length = 10_000, 30
	r := hooks.NewRegistry()
	in := cargoInbox(r, func(int64) int { return length })
	db, _ := taped(t, r, []any{&cargo{}})
	pubsubtest.Listen(t, db)
	insertCargo(t, db, rows, length)
	// As JSON a row takes some 30 bytes more.
	require.Less(t, checkCargo(t, in.take(t, rows)), rows*2*length/7000)
	require.Empty(t, in)
	comesTrue(t, func() bool { return counters(t, db, "cargo").Handled == rows }, "each is counted")
	var stored int
	require.NoError(t, db.Raw("SELECT count(*) FROM pubsub.payload").Scan(&stored).Error)
	require.Zero(t, stored, "small rows need no storage")
}

func TestRowsOfEverySize(t *testing.T) {
	t.Parallel()
	// Around what fits into one notification, one by one.
	length := func(id int64) int { return 7650 + int(id) }
	const rows = 400
	r := hooks.NewRegistry()
	in := cargoInbox(r, length)
	db, _ := taped(t, r, []any{&cargo{}})
	pubsubtest.Listen(t, db)
	for id := int64(1); id <= rows; id++ {
		require.NoError(t, db.Create(&cargo{ID: id, Body: cargoBody(id, length(id))}).Error)
	}
	require.Equal(t, rows, checkCargo(t, in.take(t, rows)))
	var stored int
	require.NoError(t, db.Raw("SELECT count(*) FROM pubsub.payload").Scan(&stored).Error)
	require.Positive(t, stored)
	require.Less(t, stored, rows, "the sizes are around the limit")
}

func TestLargeRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rows, length int }{
		"8kB": {1, 8_192}, "1MB": {3, 1 << 20}, "Thousands": {2_000, 9_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := cargoInbox(r, func(int64) int { return c.length })
			updates := newInbox[bool]()
			hooks.OnUpdate(&cargo{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[cargo]) error {
				updates <- p.Old.Body == cargoBody(p.Old.ID, c.length) && p.New.Body == p.Old.Body+"!"
				return nil
			}, hooks.Broadcast(), hooks.In(r), hooks.Name("update"))
			db, _ := taped(t, r, []any{&cargo{}})
			pubsubtest.Listen(t, db)
			insertCargo(t, db, c.rows, c.length)
			checkCargo(t, in.take(t, c.rows))
			require.NoError(t, db.Exec("UPDATE cargos SET body = body || '!' WHERE id <= 10").Error)
			for _, right := range updates.take(t, min(c.rows, 10)) {
				require.True(t, right)
			}
		})
	}
}

func TestSmallAndLargeRowsMixed(t *testing.T) {
	t.Parallel()
	const rows = 500
	length := func(id int64) int { return []int{10, 3_000, 7_790, 20_000}[id%4] }
	r := hooks.NewRegistry()
	in := cargoInbox(r, length)
	db, _ := taped(t, r, []any{&cargo{}})
	pubsubtest.Listen(t, db)
	all := make([]cargo, rows)
	for i := range all {
		id := int64(i + 1)
		all[i] = cargo{ID: id, Body: cargoBody(id, length(id))}
	}
	require.NoError(t, db.Create(&all).Error)
	require.Less(t, checkCargo(t, in.take(t, rows)), rows)
}
