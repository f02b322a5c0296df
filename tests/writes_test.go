package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Item is a row of stock.
type Item struct {
	ID   int64
	Name string `gorm:"uniqueIndex"`
	N    int
}

// Part belongs to an item and goes with it.
type Part struct {
	ID     int64
	ItemID int64
	Item   Item `gorm:"constraint:OnDelete:CASCADE,OnUpdate:CASCADE"`
}

const allOps = triggers.Insert | triggers.Update | triggers.Delete | triggers.Truncate

// events collects a model's events as lines such as "update ink 1>2".
type events chan string

// record declares a listener on everything that happens to M.
func record[M any](r *listener.Registry, line func(op triggers.Op, before, after *M) string) events {
	seen := make(events, 100_000)
	hooks.On(new(M), allOps, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[M]) error {
		seen <- line(p.Op, p.Old, p.New)
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name(fmt.Sprintf("record %T", *new(M))))
	return seen
}

// take returns the next n events, and fails when they don't come.
func (e events) take(t *testing.T, n int) []string {
	t.Helper()
	lines := make([]string, 0, n)
	for range n {
		select {
		case l := <-e:
			lines = append(lines, l)
		case <-time.After(20 * time.Second):
			require.FailNow(t, "too few events", "have %q, want %d", lines, n)
		}
	}
	return lines
}

func itemLine(op triggers.Op, before, after *Item) string {
	show := func(i *Item) string {
		if i == nil {
			return "-"
		}
		return fmt.Sprintf("%s:%d", i.Name, i.N)
	}
	return op.String() + " " + show(before) + " " + show(after)
}

func partLine(op triggers.Op, before, after *Part) string {
	show := func(p *Part) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprint(p.ID, " of ", p.ItemID)
	}
	return op.String() + " " + show(before) + " " + show(after)
}

// session opens a connection of its own, as psql does.
func session(t *testing.T, db *gorm.DB) *pgx.Conn {
	t.Helper()
	pool, err := db.DB()
	require.NoError(t, err)
	borrowed, err := pool.Conn(t.Context())
	require.NoError(t, err)
	defer func() { _ = borrowed.Close() }()
	var conn *pgx.Conn
	require.NoError(t, borrowed.Raw(func(c any) error {
		config := c.(interface{ Conn() *pgx.Conn }).Conn().Config()
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		var err error
		conn, err = pgx.ConnectConfig(t.Context(), config)
		return err
	}))
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEveryWriteFires(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	items, parts := record(r, itemLine), record(r, partLine)
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Item{}, &Part{}))
	pubsubtest.Listen(t, db)
	sql := session(t, db)

	merge := `MERGE INTO items USING (VALUES ('ink', 0), ('cup', 41), ('mug', 5)) AS v(name, n) ON items.name = v.name
		WHEN MATCHED AND v.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = v.n
		WHEN NOT MATCHED THEN INSERT (id, name, n) VALUES (5, v.name, v.n)`
	var version int
	require.NoError(t, db.Raw(`SELECT current_setting('server_version_num')::int`).Scan(&version).Error)
	if version < 150000 { // which has no MERGE: the next steps need its rows
		merge = `WITH gone AS (DELETE FROM items WHERE name = 'ink'), came AS (INSERT INTO items (id, name, n) VALUES (5, 'mug', 5))
			UPDATE items SET n = 41 WHERE name = 'cup'`
	}
	for _, step := range []struct {
		name, sql    string
		items, parts []string
	}{
		{"Insert", `INSERT INTO items (id, name, n) VALUES (1, 'ink', 1)`, []string{"insert - ink:1"}, nil},
		{
			"InsertSelect", `INSERT INTO items (id, name, n) SELECT i, 'pen ' || i, i FROM generate_series(2, 3) i`,
			[]string{"insert - pen 2:2", "insert - pen 3:3"},
			nil,
		},
		{
			"OnConflictDoUpdate", `INSERT INTO items (id, name, n) VALUES (1, 'ink', 9), (4, 'cup', 4) ON CONFLICT (name) DO UPDATE SET n = items.n + 1`,
			[]string{"insert - cup:4", "update ink:1 ink:2"},
			nil,
		},
		{"OnConflictDoNothing", `INSERT INTO items (id, name, n) VALUES (1, 'ink', 9) ON CONFLICT DO NOTHING`, nil, nil},
		{
			"UpdateFrom", `UPDATE items SET n = v.n FROM (VALUES ('ink', 20), ('cup', 40)) AS v(name, n) WHERE items.name = v.name`,
			[]string{"update cup:4 cup:40", "update ink:2 ink:20"},
			nil,
		},
		{
			"SwappedKeys", `UPDATE items SET id = CASE id WHEN 2 THEN 30 ELSE 20 END WHERE id IN (2, 3)`,
			[]string{"update pen 2:2 pen 2:2", "update pen 3:3 pen 3:3"},
			nil,
		},
		{
			"Merge", merge,
			[]string{"delete ink:20 -", "insert - mug:5", "update cup:40 cup:41"},
			nil,
		},
		{"Children", `INSERT INTO parts (id, item_id) VALUES (1, 5), (2, 5), (3, 4)`, nil, []string{"insert - 1 of 5", "insert - 2 of 5", "insert - 3 of 4"}},
		{
			"CascadeOfUpdate", `UPDATE items SET id = 50 WHERE id = 5`,
			[]string{"update mug:5 mug:5"},
			[]string{"update 1 of 5 1 of 50", "update 2 of 5 2 of 50"},
		},
		{"Cascade", `DELETE FROM items WHERE id = 50`, []string{"delete mug:5 -"}, []string{"delete 1 of 50 -", "delete 2 of 50 -"}},
		{
			"ModifyingCTE", `WITH gone AS (DELETE FROM parts RETURNING item_id), more AS (INSERT INTO items (id, name, n) VALUES (6, 'jar', 6))
				UPDATE items SET n = 0 FROM gone WHERE items.id = gone.item_id`,
			[]string{"insert - jar:6", "update cup:41 cup:0"},
			[]string{"delete 3 of 4 -"},
		},
		{"UpdateOfNothing", `UPDATE items SET n = 1 WHERE false`, nil, nil},
		{"Truncate", `TRUNCATE items, parts`, []string{"truncate - -"}, []string{"truncate - -"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			_, err := sql.Exec(t.Context(), step.sql)
			require.NoError(t, err)
			got := items.take(t, len(step.items))
			slices.Sort(got)
			require.Equal(t, append([]string{}, step.items...), got)
			got = parts.take(t, len(step.parts))
			slices.Sort(got)
			require.Equal(t, append([]string{}, step.parts...), got)
		})
	}

	t.Run("Copy", func(t *testing.T) {
		_, err := sql.PgConn().CopyFrom(t.Context(), strings.NewReader("7\tbox\t7\n8\tbag\t8\n"), "COPY items (id, name, n) FROM STDIN")
		require.NoError(t, err)
		require.Equal(t, []string{"insert - box:7", "insert - bag:8"}, items.take(t, 2))
	})
	t.Run("GORM", func(t *testing.T) {
		rows := []Item{{Name: "a", N: 1}, {Name: "b", N: 2}}
		require.NoError(t, db.CreateInBatches(&rows, 1).Error)
		require.NoError(t, db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, UpdateAll: true}).Create(&Item{ID: 99, Name: "a", N: 3}).Error)
		require.NoError(t, db.Model(&Item{}).Where("name = ?", "b").Update("n", gorm.Expr("n * 10")).Error)
		require.NoError(t, db.Where("name IN ?", []string{"b"}).Delete(&Item{}).Error)
		require.Equal(t, []string{"insert - a:1", "insert - b:2", "update a:1 a:3", "update b:2 b:20", "delete b:20 -"}, items.take(t, 5))
	})
	t.Run("Rollback", func(t *testing.T) {
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, tx.SavePoint("one").Create(&Item{Name: "undone"}).Error)
			require.NoError(t, tx.RollbackTo("one").Error)
			return tx.Create(&Item{Name: "done"}).Error
		}))
		require.Equal(t, []string{"insert - done:0"}, items.take(t, 1))
	})
	t.Run("TwiceInOneTransaction", func(t *testing.T) {
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			for _, n := range []int{1, 0, 1, 0} { // the second round is the first to the letter
				if err := tx.Model(&Item{}).Where("name = 'done'").Update("n", n).Error; err != nil {
					return err
				}
			}
			return nil
		}))
		require.Equal(t, []string{"update done:0 done:1", "update done:1 done:0", "update done:0 done:1", "update done:1 done:0"}, items.take(t, 4))
	})
	require.Empty(t, items)
	require.Empty(t, parts)
}

func TestTenThousandRowsKeepTheirPairs(t *testing.T) {
	t.Parallel()
	const n = 10_000
	r := hooks.NewRegistry()
	pairs := make(chan [2]Item, 2*n)
	hooks.OnUpdate(&Item{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Item]) error {
		pairs <- [2]Item{*p.Old, *p.New}
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("pairs"))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&Item{}))
	pool, err := db.DB()
	require.NoError(t, err)
	pool.SetMaxOpenConns(2) // so that one session's cached plans serve all updates
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Exec(`INSERT INTO items (id, name, n) SELECT i, 'item ' || i, i FROM generate_series(1, ?) i`, n).Error)
	// Small updates first: a plan that is cached for them must not hurt later.
	for range 10 {
		require.NoError(t, db.Exec(`UPDATE items SET n = n WHERE id = 1`).Error)
		<-pairs
	}
	// The new keys are the old keys of other rows.
	require.NoError(t, db.Exec(`ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (id) DEFERRABLE`).Error)
	require.NoError(t, db.Exec(`UPDATE items SET n = n + 1, id = id + 1`).Error)
	seen := map[int64]bool{}
	for range n {
		select {
		case p := <-pairs:
			require.Equal(t, Item{ID: p[0].ID + 1, Name: p[0].Name, N: p[0].N + 1}, p[1])
			seen[p[0].ID] = true
		case <-time.After(20 * time.Second):
			require.FailNow(t, "too few events", "%d of %d", len(seen), n)
		}
	}
	require.Len(t, seen, n)
}
