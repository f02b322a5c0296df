package tests

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// gauge is on a table that is altered.
type gauge struct {
	ID    int64
	N     int64 `gorm:"type:integer"`
	Label string
	Extra *string `gorm:"default:null"`
}

// gaugeEvent is an event as it arrived.
type gaugeEvent struct {
	op       triggers.Op
	old, new *gauge
	missing  []string
}

// gaugeInboxes declares listeners in all the ways in which a trigger looks at
// columns.
func gaugeInboxes(r *listener.Registry) map[string]inbox[gaugeEvent] {
	all := map[string]inbox[gaugeEvent]{}
	for name, opts := range map[string][]hooks.Option{
		"plain":   nil,
		"columns": {hooks.Columns("n")},
		"when":    {hooks.When("COALESCE(NEW.n, OLD.n)::text <> '666'")},
		"both":    {hooks.Columns("n", "label"), hooks.When("NEW IS NULL OR NEW.n IS NOT NULL OR NEW.label = ''")},
	} {
		all[name] = gaugeInbox(r, name, opts...)
	}
	return all
}

func gaugeInbox(r *listener.Registry, name string, opts ...hooks.Option) inbox[gaugeEvent] {
	in := newInbox[gaugeEvent]()
	hooks.On(&gauge{}, triggers.Insert|triggers.Update|triggers.Delete,
		func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[gauge]) error {
			in <- gaugeEvent{p.Op, p.Old, p.New, p.Missing()}
			return nil
		}, append([]hooks.Option{hooks.Broadcast(), hooks.In(r), hooks.Name(name), hooks.Channel("gauges " + name)}, opts...)...)
	return in
}

// longLived are the sessions of writers that are there before a change and
// after it.
func longLived(t *testing.T, db *gorm.DB) []*pgx.Conn {
	t.Helper()
	return []*pgx.Conn{
		writerSession(t, db),
		writerSession(t, db, "SET plan_cache_mode = force_generic_plan"),
		writerSession(t, db, "SET plan_cache_mode = force_custom_plan"),
	}
}

func TestAlteredTable(t *testing.T) {
	t.Parallel()
	const insert, update, remove = "INSERT INTO gauges (id, n, label) VALUES (%[1]d, '%[2]s', 'new')",
		"UPDATE gauges SET n = '%[3]s' WHERE id = %[1]d", "DELETE FROM gauges WHERE id = %[1]d"
	big := [2]string{"1099511627776", "1099511627777"}
	for name, c := range map[string]struct {
		change []string
		// between is how rows are written before Migrate, when the declarations
		// don't fit the table; then repair makes them fit again.
		between, repair []string
		values          [2]string // n's, after the change
	}{
		"ColumnAdded":         {change: []string{"ALTER TABLE gauges ADD COLUMN unknown text DEFAULT 'x'"}},
		"ColumnDropped":       {change: []string{"ALTER TABLE gauges DROP COLUMN extra"}},
		"AddedAndDropped":     {change: []string{"ALTER TABLE gauges ADD COLUMN a int DEFAULT 1, DROP COLUMN extra", "ALTER TABLE gauges DROP COLUMN a"}},
		"IntToBigint":         {change: []string{"ALTER TABLE gauges ALTER n TYPE bigint"}, values: big},
		"BigintToText":        {change: []string{"ALTER TABLE gauges ALTER n TYPE bigint", "ALTER TABLE gauges ALTER n TYPE text"}, values: big},
		"IntToNumeric":        {change: []string{"ALTER TABLE gauges ALTER n TYPE numeric(20, 0)"}, values: big},
		"LabelToVarchar":      {change: []string{"ALTER TABLE gauges ALTER label TYPE varchar(40)"}},
		"LabelToJSON":         {change: []string{"ALTER TABLE gauges ALTER label TYPE json USING to_json(label)", "ALTER TABLE gauges ALTER label TYPE text"}},
		"ColumnsSwapped":      {change: []string{"ALTER TABLE gauges RENAME label TO l", "ALTER TABLE gauges RENAME extra TO label", "ALTER TABLE gauges RENAME l TO extra"}},
		"UsedColumnRecreated": {change: []string{"ALTER TABLE gauges DROP COLUMN n", "ALTER TABLE gauges ADD COLUMN n bigint"}, values: big},
		"UsedColumnDropped": {
			change:  []string{"ALTER TABLE gauges DROP COLUMN n"},
			between: []string{"INSERT INTO gauges (id, label) VALUES (%[1]d, 'between')", "UPDATE gauges SET label = 'changed' WHERE id = %[1]d", remove},
			repair:  []string{"ALTER TABLE gauges ADD COLUMN n integer"},
		},
		"UsedColumnRenamed": {
			change:  []string{"ALTER TABLE gauges RENAME n TO m"},
			between: []string{"INSERT INTO gauges (id, m, label) VALUES (%[1]d, 1, 'between')", "UPDATE gauges SET m = 2 WHERE id = %[1]d", remove},
			repair:  []string{"ALTER TABLE gauges RENAME m TO n"},
		},
		"UsedColumnToJSON": {
			change: []string{"ALTER TABLE gauges ALTER n TYPE json USING to_json(n)"},
			repair: []string{"ALTER TABLE gauges ALTER n TYPE integer USING n::text::integer"},
		},
		"TableRenamed": {
			change:  []string{"ALTER TABLE gauges RENAME TO gadgets"},
			between: []string{"INSERT INTO gadgets (id, n, label) VALUES (%[1]d, 1, 'between')", "UPDATE gadgets SET n = 2 WHERE id = %[1]d", "DELETE FROM gadgets WHERE id = %[1]d"},
			repair:  []string{"ALTER TABLE gadgets RENAME TO gauges"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			inboxes := gaugeInboxes(r)
			db, _ := taped(t, r, []any{&gauge{}})
			p := pubsubtest.Of(t, db)
			pubsubtest.Listen(t, db)
			writers := longLived(t, db)
			id := 0
			run := func(statements []string, values [2]string) {
				for _, w := range writers {
					id++
					for _, s := range statements {
						// The brackets let every statement take the arguments it wants.
						write(t, w, fmt.Sprintf(s+"%[4]s", id, values[0], values[1], ""))
					}
				}
			}
			for range 6 { // a plan is cached for good after some executions
				run([]string{insert, update, remove}, [2]string{"1", "2"})
			}
			for _, in := range inboxes {
				in.take(t, 6*3*len(writers))
			}

			for _, s := range c.change {
				require.NoError(t, db.Exec(s).Error, s)
			}
			if c.between == nil {
				c.between = []string{insert, update, remove}
			}
			run(c.between, [2]string{"3", "4"})
			for _, s := range c.repair {
				require.NoError(t, db.Exec(s).Error, s)
			}
			require.NoError(t, p.Migrate(t.Context()))
			require.NoError(t, p.Verify(t.Context()))

			values := c.values
			if values[0] == "" {
				values = [2]string{"5", "6"}
			}
			from := id
			run([]string{insert, update, "UPDATE gauges SET label = label WHERE id = %[1]d", remove}, values)
			for name, in := range inboxes {
				checkGauges(t, name, in, from, len(writers), values)
			}
			run([]string{insert}, values)
			selected := map[int64]gauge{}
			var rows []gauge
			require.NoError(t, db.Find(&rows).Error)
			for _, row := range rows {
				selected[row.ID] = row
			}
			for range writers {
				e := inboxes["plain"].next(t)
				require.Equal(t, selected[e.new.ID], *e.new, "as a SELECT gives it")
			}
		})
	}
}

// checkGauges fails unless the events of the rows after from are right. Events
// before them may be there or not.
func checkGauges(t *testing.T, name string, in inbox[gaugeEvent], from, rows int, values [2]string) {
	t.Helper()
	for n := 1; n <= rows; n++ {
		id := int64(from + n)
		ops := []triggers.Op{triggers.Insert, triggers.Update, triggers.Update, triggers.Delete}
		if name == "columns" || name == "both" { // the second update changes nothing
			ops = []triggers.Op{triggers.Insert, triggers.Update, triggers.Delete}
		}
		for k, op := range ops {
			e := in.next(t)
			for k == 0 && n == 1 && eventID(e) <= int64(from) {
				e = in.next(t)
			}
			require.Equal(t, id, eventID(e), name)
			require.Equal(t, op, e.op, name)
			if e.new != nil && op == triggers.Insert {
				assert.Equal(t, values[0], fmt.Sprint(e.new.N), name)
			}
			if op == triggers.Delete {
				assert.Equal(t, values[1], fmt.Sprint(e.old.N), name)
			}
		}
	}
}

func eventID(e gaugeEvent) int64 {
	if e.new != nil {
		return e.new.ID
	}
	return e.old.ID
}

// A model may be ahead of its table, and its table be changed while we listen.
func TestColumnComesLater(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, change, label string
	}{
		"Added":       {"ALTER TABLE gauges DROP COLUMN label", "ALTER TABLE gauges ADD COLUMN label text", "there"},
		"Renamed":     {"ALTER TABLE gauges RENAME label TO old_label", "ALTER TABLE gauges RENAME old_label TO label", "there"},
		"TypeChanged": {"ALTER TABLE gauges ALTER label TYPE bytea USING ''", "ALTER TABLE gauges ALTER label TYPE text USING ''", "there"},
		"ToBytes":     {"SELECT 1", "ALTER TABLE gauges ALTER label TYPE bytea USING ''", "there"},
		"ToJSON":      {"SELECT 1", "ALTER TABLE gauges ALTER label TYPE json USING '{}'", `{"a": 1}`},
		"ToNumber":    {"SELECT 1", "ALTER TABLE gauges ALTER label TYPE numeric USING 0", "12.50"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := gaugeInbox(r, "plain")
			db, _ := taped(t, r, nil)
			require.NoError(t, db.AutoMigrate(&gauge{}))
			require.NoError(t, db.Exec(c.before).Error)
			p := pubsubtest.Of(t, db)
			pubsubtest.Listen(t, db)
			write(t, writerSession(t, db), "INSERT INTO gauges (id, n) VALUES (1, 1)")
			in.next(t)
			require.NoError(t, db.Exec(c.change).Error)
			require.NoError(t, p.Migrate(t.Context()))
			require.NoError(t, db.Exec("INSERT INTO gauges (id, n, label) VALUES (2, 2, ?)", gorm.Expr("'"+c.label+"'")).Error)
			var want gauge
			require.NoError(t, db.First(&want, 2).Error)
			e := in.next(t)
			require.Equal(t, want, *e.new, "as a SELECT gives it")
			require.Empty(t, e.missing)
		})
	}
}
