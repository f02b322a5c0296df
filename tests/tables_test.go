package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// rowLine shows an event by the text of its rows.
func rowLine[M any](op triggers.Op, before, after *M) string {
	show := func(m *M) string {
		if m == nil {
			return "-"
		}
		return strings.Trim(fmt.Sprint(*m), "{}")
	}
	return op.String() + " " + show(before) + " " + show(after)
}

type orderItem struct {
	ID   int64
	Text string `gorm:"column:The Text"`
}

func (orderItem) TableName() string { return "Order Items" }

type upperCase struct {
	ID int64 `gorm:"column:ID"`
	N  int   `gorm:"column:N"`
}

func (upperCase) TableName() string { return "UPPER" }

type withQuotes struct {
	ID   int64
	Text string `gorm:"column:it's"`
}

func (withQuotes) TableName() string { return `quo""te's $pubsub$ %s \` }

type longName struct{ ID, N int64 }

func (longName) TableName() string { return strings.Repeat("long_", 12) + "end" }

type oldNew struct {
	ID  int64
	Old string
	New string
}

type pair struct {
	A string `gorm:"primaryKey"`
	B int    `gorm:"primaryKey"`
	N int
}

type keyless struct {
	A string
	B *int
}

type Address struct {
	City string
	Zip  *string
}

type person struct {
	gorm.Model
	Home Address  `gorm:"embedded;embeddedPrefix:home_"`
	Work *Address `gorm:"embedded;embeddedPrefix:work_"`
}

func watch[M any](r *listener.Registry) events { return record(r, rowLine[M]) }

func TestOddTables(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	seen := map[string]events{
		"Spaces": watch[orderItem](r), "UpperCase": watch[upperCase](r), "Quotes": watch[withQuotes](r), "LongName": watch[longName](r),
		"ColumnsOldAndNew": watch[oldNew](r), "CompositeKey": watch[pair](r), "NoKey": watch[keyless](r),
	}
	db := pubsubtest.Open(t, pubsubtest.Registry(r),
		pubsubtest.Models(&orderItem{}, &upperCase{}, &withQuotes{}, &longName{}, &oldNew{}, &pair{}, &keyless{}))
	pubsubtest.Listen(t, db)
	for name, c := range map[string]struct {
		create any
		update func() error
		want   []string
	}{
		"Spaces": {
			&orderItem{ID: 1, Text: "a"}, func() error { return db.Save(&orderItem{ID: 1, Text: "b"}).Error },
			[]string{"insert - 1 a", "update 1 a 1 b"},
		},
		"UpperCase": {
			&upperCase{ID: 1, N: 2}, func() error { return db.Save(&upperCase{ID: 1, N: 3}).Error },
			[]string{"insert - 1 2", "update 1 2 1 3"},
		},
		"Quotes": {
			&withQuotes{ID: 1, Text: `"`}, func() error { return db.Save(&withQuotes{ID: 1, Text: `'\`}).Error },
			[]string{`insert - 1 "`, `update 1 " 1 '\`},
		},
		"LongName": {
			&longName{ID: 1, N: 2}, func() error { return db.Save(&longName{ID: 1, N: 3}).Error },
			[]string{"insert - 1 2", "update 1 2 1 3"},
		},
		"ColumnsOldAndNew": {
			&oldNew{ID: 1, Old: "o", New: "n"}, func() error { return db.Save(&oldNew{ID: 1, Old: "n", New: "m"}).Error },
			[]string{"insert - 1 o n", "update 1 o n 1 n m"},
		},
		"CompositeKey": {
			&pair{A: "a", B: 1, N: 2}, func() error { return db.Model(&pair{}).Where("a = 'a'").Updates(map[string]any{"b": 3, "n": 4}).Error },
			[]string{"insert - a 1 2", "update a 1 2 a 3 4"},
		},
		"NoKey": {
			&keyless{A: "a", B: nil}, func() error { return db.Exec(`UPDATE keylesses SET a = 'b'; DELETE FROM keylesses`).Error },
			[]string{"insert - a <nil>", "update a <nil> b <nil>", "delete b <nil> -"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, db.Create(c.create).Error)
			require.NoError(t, c.update())
			require.Equal(t, c.want, seen[name].take(t, len(c.want)))
		})
	}
}

func TestEmbeddedStructs(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := make(chan hooks.TriggerPayload[person], 10)
	hooks.OnSave(&person{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[person]) error { got <- p; return nil },
		hooks.Broadcast(), hooks.In(r), hooks.Name("person"))
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&person{}))
	pubsubtest.Listen(t, db)
	zip := "1000"
	for _, p := range []person{{Home: Address{City: "Bern"}}, {Home: Address{City: "Genf", Zip: &zip}, Work: &Address{City: "Chur"}}} {
		require.NoError(t, db.Create(&p).Error)
		var stored person
		require.NoError(t, db.First(&stored, p.ID).Error)
		require.Equal(t, stored, *(<-got).New)
	}
}

type Language struct {
	ID   int64
	Name string
}

type speaker struct {
	ID        int64
	Languages []Language `gorm:"many2many:speaker_languages"`
}

// speakerLanguage is the join table that GORM makes.
type speakerLanguage struct {
	SpeakerID  int64 `gorm:"primaryKey"`
	LanguageID int64 `gorm:"primaryKey"`
}

func (speakerLanguage) TableName() string { return "speaker_languages" }

func TestJoinTable(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	joined := watch[speakerLanguage](r)
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&speaker{}))
	pubsubtest.Listen(t, db)
	s := speaker{ID: 1, Languages: []Language{{ID: 1, Name: "de"}, {ID: 2, Name: "fr"}}}
	require.NoError(t, db.Create(&s).Error)
	require.NoError(t, db.Model(&s).Association("Languages").Delete(&Language{ID: 1}))
	require.Equal(t, []string{"insert - 1 1", "insert - 1 2", "delete 1 1 -"}, joined.take(t, 3))
}

type measurement struct {
	ID int64
	At time.Time `gorm:"type:date"`
	N  int
}

func measurementLine(op triggers.Op, before, after *measurement) string {
	show := func(m *measurement) string {
		if m == nil {
			return "-"
		}
		return fmt.Sprintf("%d/%s/%d", m.ID, m.At.Format("01"), m.N)
	}
	return op.String() + " " + show(before) + " " + show(after)
}

// measurement2 is the second partition as a model of its own.
type measurement2 measurement

func (measurement2) TableName() string { return "measurements_2" }

func TestPartitions(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	whole := record(r, measurementLine)
	part := record(r, func(op triggers.Op, before, after *measurement2) string {
		return measurementLine(op, (*measurement)(before), (*measurement)(after))
	})
	db := pubsubtest.Open(t, pubsubtest.Registry(r))
	for _, s := range []string{
		`CREATE TABLE measurements (id bigint, at date, n int) PARTITION BY RANGE (at)`,
		`CREATE TABLE measurements_1 PARTITION OF measurements FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
		`CREATE TABLE measurements_2 PARTITION OF measurements FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`,
	} {
		require.NoError(t, db.Exec(s).Error)
	}
	p := pubsubtest.Of(t, db)
	require.NoError(t, p.Migrate(t.Context()))
	pubsubtest.Listen(t, db)

	for _, step := range []struct {
		sql         string
		whole, part []string
	}{
		{
			`INSERT INTO measurements VALUES (1, '2026-01-05', 1), (2, '2026-02-05', 2)`,
			[]string{"insert - 1/01/1", "insert - 2/02/2"},
			[]string{"insert - 2/02/2"},
		},
		{`INSERT INTO measurements_1 VALUES (3, '2026-01-06', 3)`, []string{"insert - 3/01/3"}, nil},
		{`INSERT INTO measurements_2 VALUES (4, '2026-02-06', 4)`, []string{"insert - 4/02/4"}, []string{"insert - 4/02/4"}},
		{
			`UPDATE measurements SET n = 10 * n WHERE id IN (3, 4)`,
			[]string{"update 3/01/3 3/01/30", "update 4/02/4 4/02/40"},
			[]string{"update 4/02/4 4/02/40"},
		},
		{
			`UPDATE measurements SET at = '2026-02-07' WHERE id = 1`,
			[]string{"delete 1/01/1 -", "insert - 1/02/1"},
			[]string{"insert - 1/02/1"},
		},
		{`DELETE FROM measurements_2 WHERE id = 1`, []string{"delete 1/02/1 -"}, []string{"delete 1/02/1 -"}},
		{`TRUNCATE measurements`, []string{"truncate - -"}, []string{"truncate - -"}},
	} {
		require.NoError(t, db.Exec(step.sql).Error)
		for seen, want := range map[*events][]string{&whole: step.whole, &part: step.part} {
			got := seen.take(t, len(want))
			slices.Sort(got)
			require.Equal(t, append([]string{}, want...), got, step.sql)
		}
	}

	// A table that becomes a partition needs another kind of trigger, and
	// Migrate sees it.
	require.NoError(t, db.Exec(`ALTER TABLE measurements DETACH PARTITION measurements_2`).Error)
	require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrDrift)
	require.NoError(t, p.Migrate(t.Context()))
	require.NoError(t, p.Verify(t.Context()))
	require.NoError(t, db.Exec(`ALTER TABLE measurements ATTACH PARTITION measurements_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`).Error)
	require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrDrift)
	require.NoError(t, p.Migrate(t.Context()))
	require.NoError(t, db.Exec(`INSERT INTO measurements VALUES (9, '2026-02-09', 9)`).Error)
	require.Equal(t, []string{"insert - 9/02/9"}, whole.take(t, 1))
	require.Equal(t, []string{"insert - 9/02/9"}, part.take(t, 1))
}

type animal struct {
	ID   int64
	Name string
}

func TestInheritanceChild(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	seen := watch[animal](r)
	db := pubsubtest.Open(t, pubsubtest.Registry(r))
	for _, s := range []string{
		`CREATE TABLE beings (id bigint, name text)`,
		`CREATE TABLE animals () INHERITS (beings)`,
	} {
		require.NoError(t, db.Exec(s).Error)
	}
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&animal{ID: 1, Name: "cat"}).Error)
	require.NoError(t, db.Exec(`UPDATE beings SET name = 'dog'`).Error)
	require.NoError(t, db.Exec(`DELETE FROM beings`).Error)
	require.Equal(t, []string{"insert - 1 cat", "update 1 cat 1 dog", "delete 1 dog -"}, seen.take(t, 3))
}

type ledger struct {
	ID int64
	N  int
}

func TestSchemaByTablePrefix(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	seen := watch[ledger](r)
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Config(&gorm.Config{
		NamingStrategy: schema.NamingStrategy{TablePrefix: "Money Dept."}, Logger: logger.Discard,
	}))
	require.NoError(t, db.Exec(`CREATE SCHEMA "Money Dept"`).Error)
	require.NoError(t, db.AutoMigrate(&ledger{}))
	pubsubtest.Listen(t, db, "Money Dept.ledgers_insert_update_delete_truncate")
	require.NoError(t, db.Create(&ledger{ID: 1, N: 2}).Error)
	require.NoError(t, db.Exec(`CREATE TABLE ledgers (id bigint, n int); INSERT INTO ledgers VALUES (5, 5)`).Error)
	require.NoError(t, db.Delete(&ledger{ID: 1}).Error)
	require.Equal(t, []string{"insert - 1 2", "delete 1 2 -"}, seen.take(t, 2))
}
