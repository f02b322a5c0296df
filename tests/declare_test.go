package tests

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// DeclBook has what the declarations are about.
type DeclBook struct {
	ID        int64
	Title     string
	Pages     *int
	Price     float64
	Extra     *string `gorm:"type:json"`
	Shelf     *string `gorm:"type:point"`
	Lent      *time.Time
	Loans     []DeclLoan `gorm:"constraint:-"`
	Ignored   string     `gorm:"-"`
	DeletedAt gorm.DeletedAt
}

type DeclLoan struct {
	ID         int64
	DeclBookID int64
}

// declOpen opens a database with the tables, and listens.
func declOpen(t *testing.T, r *listener.Registry, models ...any) *gorm.DB {
	t.Helper()
	if len(models) == 0 {
		models = []any{&DeclBook{}, &DeclLoan{}}
	}
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(models...))
	pubsubtest.Listen(t, db)
	return db
}

// declTitles runs the sentinel, which gets a row named "the end" through all
// conditions of the subscription, and returns what came before it.
func declTitles(t *testing.T, db *gorm.DB, got chan hooks.TriggerPayload[DeclBook], sentinel string) []string {
	t.Helper()
	plugExec(t, db, sentinel)
	var titles []string
	for {
		p := plugNext(t, got)
		row := p.New
		if row == nil {
			row = p.Old
		}
		if row == nil {
			titles = append(titles, p.Op.String())
			continue
		}
		if row.Title == "the end" {
			return titles
		}
		titles = append(titles, p.Op.String()+" "+row.Title)
	}
}

func TestDeclarators(t *testing.T) {
	t.Parallel()
	model := &DeclBook{}
	const end = `
		INSERT INTO decl_books (title) VALUES ('the end');
		UPDATE decl_books SET deleted_at = now() WHERE title = 'the end';
		DELETE FROM decl_books WHERE title = 'the end'`
	for name, c := range map[string]struct {
		declare func(h hooks.Handler[DeclBook], opts ...hooks.Option)
		channel string
		want    []string
	}{
		"OnInsert": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) { hooks.OnInsert(model, h, o...) },
			"decl_books_insert",
			[]string{"insert a", "insert b"},
		},
		"OnUpdate": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) { hooks.OnUpdate(model, h, o...) },
			"decl_books_update",
			[]string{"update a", "update a", "update a"},
		},
		"OnDelete": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) { hooks.OnDelete(model, h, o...) },
			"decl_books_delete",
			[]string{"delete a"},
		},
		"OnSave": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) { hooks.OnSave(model, h, o...) },
			"decl_books_save",
			[]string{"insert a", "update a", "update a", "update a", "insert b"},
		},
		"OnSoftDelete": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) { hooks.OnSoftDelete(model, h, o...) },
			"decl_books_soft_delete",
			[]string{"update a"},
		},
		"On": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) {
				hooks.On(model, triggers.Insert|triggers.Delete, h, o...)
			},
			"decl_books_insert_delete",
			[]string{"insert a", "delete a", "insert b"},
		},
		"OnAll": {
			func(h hooks.Handler[DeclBook], o ...hooks.Option) {
				hooks.On(model, triggers.Insert|triggers.Update|triggers.Delete|triggers.Truncate, h, o...)
			},
			"decl_books_insert_update_delete_truncate",
			[]string{"insert a", "update a", "update a", "update a", "delete a", "insert b", "truncate"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[DeclBook]()
			c.declare(h, hooks.In(r), hooks.Broadcast())
			db := declOpen(t, r)
			channels, err := pubsubtest.Of(t, db).Channels()
			require.NoError(t, err)
			require.Equal(t, []string{c.channel}, channels)

			a := DeclBook{Title: "a"}
			require.NoError(t, db.Create(&a).Error)
			require.NoError(t, db.Model(&a).Update("title", "a").Error) // an update that changes nothing counts
			require.NoError(t, db.Delete(&a).Error)                     // softly
			require.NoError(t, db.Unscoped().Model(&a).Update("deleted_at", nil).Error)
			require.NoError(t, db.Unscoped().Delete(&a).Error)
			require.NoError(t, db.Create(&DeclBook{Title: "b"}).Error)
			plugExec(t, db, "TRUNCATE decl_books")
			require.Equal(t, c.want, declTitles(t, db, got, end))
		})
	}
	t.Run("OnTruncate", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		h, got := plugCollect[DeclBook]()
		hooks.OnTruncate(model, h, hooks.In(r), hooks.Broadcast())
		db := declOpen(t, r)
		require.NoError(t, db.Create(&DeclBook{Title: "a"}).Error)
		plugExec(t, db, "DELETE FROM decl_books", "TRUNCATE decl_books")
		p := plugNext(t, got)
		require.Equal(t, triggers.Truncate, p.Op)
		require.Nil(t, p.Old)
		require.Nil(t, p.New)
		require.False(t, p.Changed("Title"))
		require.Empty(t, p.Missing())
		require.Empty(t, p.Unknown())
		require.Positive(t, p.EventID)
		plugExec(t, db, "TRUNCATE decl_books")
		require.Greater(t, plugNext(t, got).EventID, p.EventID)
	})
}

func TestTriggerPayload(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclBook]()
	hooks.On(&DeclBook{}, triggers.Insert|triggers.Update|triggers.Delete, h, hooks.In(r), hooks.Broadcast())
	db := declOpen(t, r)
	now := func() time.Time { return plugQuery[time.Time](t, db, "SELECT clock_timestamp()") }
	pages, extra, shelf := 5, `{"a": 1}`, "(1,2)"
	lent := time.Now().Truncate(time.Microsecond)

	from := now()
	book := DeclBook{Title: "Ä \"title\"", Pages: &pages, Price: 1.5, Extra: &extra, Shelf: &shelf, Lent: &lent}
	require.NoError(t, db.Create(&book).Error)
	to := now()
	var stored DeclBook
	require.NoError(t, db.First(&stored, book.ID).Error)

	p := plugNext(t, got)
	require.Equal(t, triggers.Insert, p.Op)
	require.Nil(t, p.Old)
	require.Equal(t, stored, *p.New)
	require.Positive(t, p.EventID)
	require.False(t, p.CreatedAt.Before(from.Truncate(time.Microsecond)), "%s is before %s", p.CreatedAt, from)
	require.False(t, p.CreatedAt.After(to), "%s is after %s", p.CreatedAt, to)
	for _, column := range []string{"Title", "title", "ID", "id", "DeletedAt", "deleted_at"} {
		require.True(t, p.Changed(column), column)
	}
	require.Empty(t, p.Missing())
	require.Empty(t, p.Unknown())

	require.NoError(t, db.Model(&book).Updates(map[string]any{"title": "other", "pages": nil}).Error)
	last := p.EventID
	p = plugNext(t, got)
	require.Equal(t, triggers.Update, p.Op)
	require.Greater(t, p.EventID, last)
	require.Equal(t, stored, *p.Old)
	require.Equal(t, "other", p.New.Title)
	require.Nil(t, p.New.Pages)
	for column, want := range map[string]bool{
		"Title": true, "title": true, "Pages": true, "pages": true, "ID": false, "price": false, "Extra": false, "shelf": false,
		"Lent": false, "DeletedAt": false,
	} {
		require.Equal(t, want, p.Changed(column), column)
	}

	// Missing and Unknown are of the table at the time of the write.
	plugExec(t, db, "ALTER TABLE decl_books DROP COLUMN extra", "ALTER TABLE decl_books ADD COLUMN \"newer one\" text DEFAULT 'x'",
		"UPDATE decl_books SET title = 'third'")
	p = plugNext(t, got)
	require.Equal(t, []string{"extra"}, p.Missing())
	require.Equal(t, []string{"newer one"}, p.Unknown())
	require.Nil(t, p.New.Extra)
	require.Equal(t, "third", p.New.Title)

	plugExec(t, db, "ALTER TABLE decl_books ADD COLUMN extra json", "ALTER TABLE decl_books DROP COLUMN \"newer one\"",
		`UPDATE decl_books SET extra = '{"b":2}'`)
	p = plugNext(t, got)
	require.Empty(t, p.Missing())
	require.Empty(t, p.Unknown())
	require.NotNil(t, p.New.Extra)
	require.JSONEq(t, `{"b":2}`, *p.New.Extra)
	require.True(t, p.Changed("Extra"))

	require.NoError(t, db.Unscoped().Delete(&book).Error)
	p = plugNext(t, got)
	require.Equal(t, triggers.Delete, p.Op)
	require.Nil(t, p.New)
	require.Equal(t, "third", p.Old.Title)
	require.True(t, p.Changed("Title"))
}

// The table gets its columns, and other types, while we listen.
func TestColumnsChangeWhileListening(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclBook]()
	hooks.OnInsert(&DeclBook{}, h, hooks.In(r), hooks.Broadcast())
	db := pubsubtest.Open(t, pubsubtest.Registry(r))
	plugExec(t, db, "CREATE TABLE decl_books (id bigserial, title text)")
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	plugExec(t, db, "INSERT INTO decl_books (title) VALUES ('narrow')")
	p := plugNext(t, got)
	require.Equal(t, "narrow", p.New.Title)
	require.ElementsMatch(t, []string{"pages", "price", "extra", "shelf", "lent", "deleted_at"}, p.Missing())

	plugExec(t, db, "ALTER TABLE decl_books ADD pages int, ADD price numeric, ADD extra json, ADD shelf point, ADD lent timestamptz, ADD deleted_at timestamptz",
		`INSERT INTO decl_books (title, pages, price, extra, shelf, lent) VALUES ('wide', 7, 1.25, '[1]', '(1,2)', '2026-01-02 03:04:05Z')`)
	p = plugNext(t, got)
	require.Equal(t, "wide", p.New.Title)
	require.NotNil(t, p.New.Pages)
	require.Equal(t, 7, *p.New.Pages)
	require.InDelta(t, 1.25, p.New.Price, 0)
	require.Equal(t, "[1]", *p.New.Extra)
	require.Equal(t, "(1,2)", *p.New.Shelf)
	require.True(t, p.New.Lent.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	require.Empty(t, p.Missing())

	plugExec(t, db, "ALTER TABLE decl_books ALTER price TYPE text, ALTER title TYPE varchar(50), ALTER pages TYPE bigint",
		"INSERT INTO decl_books (title, price, pages) VALUES ('retyped', '2.5', 8)")
	p = plugNext(t, got)
	require.Equal(t, "retyped", p.New.Title)
	require.InDelta(t, 2.5, p.New.Price, 0)
	require.Equal(t, 8, *p.New.Pages)
	require.Zero(t, pubsubtest.Of(t, db).Health().Subscriptions[0].Failed)
}

func TestChangedOfAnUnknownColumn(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]hooks.TriggerPayload[DeclBook]{
		"Insert":   {Op: triggers.Insert, New: &DeclBook{}},
		"Update":   {Op: triggers.Update, Old: &DeclBook{}, New: &DeclBook{}},
		"Delete":   {Op: triggers.Delete, Old: &DeclBook{}},
		"Truncate": {Op: triggers.Truncate},
	} {
		for _, column := range []string{"nope", "", "Loans", "Ignored"} { // a relation and an ignored field are no columns
			t.Run(name+"/"+column, func(t *testing.T) {
				t.Parallel()
				message := declPanic(t, func() { payload.Changed(column) })
				require.Contains(t, message, fmt.Sprintf("%q", column))
				require.Contains(t, message, "DeclBook")
			})
		}
	}
}

// declPanic returns what f panics with.
func declPanic(t *testing.T, f func()) (message string) {
	t.Helper()
	defer func() {
		value := recover()
		require.NotNil(t, value, "it must panic")
		message = fmt.Sprint(value)
		_, broken := value.(runtime.Error)
		require.False(t, broken, "a panic of its own words: %v", value)
	}()
	f()
	return ""
}

func TestAPayloadMadeByHand(t *testing.T) {
	t.Parallel()
	type payload = hooks.TriggerPayload[DeclBook]
	pages, same, other := 1, 1, 2
	here := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("here", 3600))
	there := here.UTC()
	p := payload{
		Op:  triggers.Update,
		Old: &DeclBook{Title: "a", Pages: &pages, Lent: &here, DeletedAt: gorm.DeletedAt{Time: here, Valid: true}},
		New: &DeclBook{Title: "b", Pages: &same, Lent: &there, DeletedAt: gorm.DeletedAt{Time: here, Valid: true}},
	}
	require.True(t, p.Changed("Title"))
	require.True(t, p.Changed("title"))
	require.False(t, p.Changed("pages"))
	require.False(t, p.Changed("Price"))
	require.False(t, p.Changed("DeletedAt"))
	require.False(t, p.Changed("Lent"), "it is the same moment")
	p.New.Pages = &other
	require.True(t, p.Changed("Pages"))
	p.New.Pages = nil
	require.True(t, p.Changed("Pages"))
	require.Nil(t, p.Missing())
	require.Nil(t, p.Unknown())
	require.True(t, payload{Op: triggers.Insert, New: &DeclBook{}}.Changed("Title"))
	require.True(t, payload{Op: triggers.Delete, Old: &DeclBook{}}.Changed("Title"))
	require.False(t, payload{Op: triggers.Truncate}.Changed("Title"))
}

// A handler's panic, such as Changed's of an unknown column, is a failure that
// stops nothing.
func TestAPanickingHandlerIsCounted(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := make(chan string, 10)
	hooks.OnInsert(&DeclBook{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[DeclBook]) error {
		got <- p.New.Title
		if p.New.Title == "error" {
			return errors.New("an error")
		}
		if p.New.Title == "panic" && p.Changed("no such column") {
			return nil
		}
		return nil
	}, hooks.In(r), hooks.Broadcast())
	db := declOpen(t, r)
	plugExec(t, db, "INSERT INTO decl_books (title) VALUES ('panic'), ('error')", "INSERT INTO decl_books (title) VALUES ('fine')")
	for _, title := range []string{"panic", "error", "fine"} {
		require.Equal(t, title, plugNext(t, got))
	}
	require.Eventually(t, func() bool {
		s := pubsubtest.Of(t, db).Health().Subscriptions[0]
		return s.Failed == 2 && s.Handled == 1
	}, plugLimit, time.Millisecond)
}

func TestOnSoftDelete(t *testing.T) {
	t.Parallel()
	const end = "INSERT INTO decl_books (title) VALUES ('the end'); UPDATE decl_books SET deleted_at = now() WHERE title = 'the end'"
	t.Run("GORM", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		h, got := plugCollect[DeclBook]()
		hooks.OnSoftDelete(&DeclBook{}, h, hooks.In(r), hooks.Broadcast())
		db := declOpen(t, r)
		books := []DeclBook{{Title: "a"}, {Title: "b"}, {Title: "c"}, {Title: "d"}}
		require.NoError(t, db.Create(&books).Error)
		require.NoError(t, db.Delete(&books[0]).Error)
		p := plugNext(t, got)
		require.Equal(t, triggers.Update, p.Op)
		require.False(t, p.Old.DeletedAt.Valid)
		require.True(t, p.New.DeletedAt.Valid)
		require.True(t, p.Changed("DeletedAt"))
		require.False(t, p.Changed("Title"))
		require.NoError(t, db.Unscoped().Model(&books[0]).Update("title", "a, changed while deleted").Error)
		require.NoError(t, db.Unscoped().Model(&books[0]).Update("deleted_at", time.Now()).Error) // deleted already
		require.NoError(t, db.Unscoped().Model(&books[0]).Update("deleted_at", nil).Error)
		require.NoError(t, db.Model(&books[0]).Update("title", "a again").Error)
		require.NoError(t, db.Delete(&books[0]).Error)
		require.NoError(t, db.Unscoped().Delete(&books[1]).Error)                                // really
		require.NoError(t, db.Where("title IN ?", []string{"c", "d"}).Delete(&DeclBook{}).Error) // in bulk
		require.Equal(t, []string{"update a again", "update c", "update d"}, declTitles(t, db, got, end))
	})
	for name, more := range map[string][]hooks.Option{"WithWhen": nil, "WithWhenAndColumns": {hooks.Columns("DeletedAt", "Price")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[DeclBook]()
			hooks.OnSoftDelete(&DeclBook{}, h, append(more, hooks.In(r), hooks.Broadcast(),
				hooks.When("NEW.title = 'the end' OR NEW.title = 'a' -- or nothing"))...)
			db := declOpen(t, r)
			books := []DeclBook{{Title: "a"}, {Title: "b"}}
			require.NoError(t, db.Create(&books).Error)
			require.NoError(t, db.Model(&books[0]).Update("price", 3).Error) // OR must not reach past the soft delete
			require.NoError(t, db.Delete(&books).Error)
			require.Equal(t, []string{"update a"}, declTitles(t, db, got, end))
		})
	}
	t.Run("TheOnlySoftDeletedRowIsInserted", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		h, got := plugCollect[DeclBook]()
		hooks.OnSoftDelete(&DeclBook{}, h, hooks.In(r), hooks.Broadcast())
		db := declOpen(t, r)
		plugExec(t, db, "INSERT INTO decl_books (title, deleted_at) VALUES ('dead from the start', now())")
		require.Empty(t, declTitles(t, db, got, end))
	})
}

// DeclZero lives while its column has GORM's zero value, which isn't NULL.
type DeclZero struct {
	ID        int64
	DeletedAt gorm.DeletedAt `gorm:"zeroValue:1970-01-01 00:00:01;default:'1970-01-01 00:00:01'"`
}

func TestOnSoftDeleteWithAZeroValue(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclZero]()
	hooks.OnSoftDelete(&DeclZero{}, h, hooks.In(r), hooks.Broadcast())
	ends := make(chan int, 1)
	typed := listener.NewChannel[int]("end", listener.In(r), listener.Broadcast())
	typed.Listen(func(_ context.Context, _ *gorm.DB, v int) error { ends <- v; return nil })
	db := declOpen(t, r, &DeclZero{})
	row := DeclZero{}
	require.NoError(t, db.Create(&row).Error)
	require.NoError(t, db.First(&DeclZero{}, row.ID).Error, "GORM must take the row for a living one")
	require.NoError(t, db.Delete(&row).Error)
	require.ErrorIs(t, db.First(&DeclZero{}, row.ID).Error, gorm.ErrRecordNotFound)
	require.NoError(t, typed.Notify(t.Context(), db, 1))
	plugNext(t, ends)
	select {
	case p := <-got:
		require.Equal(t, row.ID, p.New.ID)
	case <-time.After(time.Second): // the two subscriptions have goroutines of their own
		require.Fail(t, "GORM has soft-deleted the row, and nothing came")
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		columns []string
		writes  []string
		want    []string
	}{
		"OnlyChanges": {
			[]string{"Title"},
			[]string{
				"UPDATE decl_books SET title = 'a'", "UPDATE decl_books SET price = 9, pages = 9", "UPDATE decl_books SET title = title",
				"UPDATE decl_books SET title = 'b', price = 1",
			},
			[]string{"update b"},
		},
		"NullTransitions": {
			[]string{"pages"},
			[]string{
				"UPDATE decl_books SET pages = 1, title = 'from null'", "UPDATE decl_books SET pages = NULL, title = 'to null'",
				"UPDATE decl_books SET pages = NULL, title = 'stays null'",
			},
			[]string{"update from null", "update to null"},
		},
		"JSON": {
			[]string{"Extra"},
			[]string{
				`UPDATE decl_books SET extra = '{"a":1}', title = '1'`, `UPDATE decl_books SET extra = '{"a":1}', title = '2'`,
				`UPDATE decl_books SET extra = '{"a":2}', title = '3'`, `UPDATE decl_books SET extra = NULL, title = '4'`,
				`UPDATE decl_books SET extra = 'null', title = '5'`,
			},
			[]string{"update 1", "update 3", "update 4", "update 5"},
		},
		"Point": {
			[]string{"Shelf"},
			[]string{
				`UPDATE decl_books SET shelf = '(1,2)', title = '1'`, `UPDATE decl_books SET shelf = '(1,2)', title = '2'`,
				`UPDATE decl_books SET shelf = '(1,3)', title = '3'`,
			},
			[]string{"update 1", "update 3"},
		},
		"AnyOfSeveral": {
			[]string{"Title", "price", "DeletedAt"},
			[]string{
				"UPDATE decl_books SET pages = 1", "UPDATE decl_books SET price = 2", "UPDATE decl_books SET deleted_at = now()",
				"UPDATE decl_books SET title = 'b'",
			},
			[]string{"update a", "update a", "update b"},
		},
		"TheKey": {
			[]string{"ID"},
			[]string{"UPDATE decl_books SET price = 5", "UPDATE decl_books SET id = id + 1000"},
			[]string{"update a"},
		},
		"SomeRowsOfMany": {
			[]string{"price"},
			[]string{
				"INSERT INTO decl_books (title, price) SELECT 'row ' || i, i % 2 FROM generate_series(1, 4) i",
				"UPDATE decl_books SET price = 1 WHERE title LIKE 'row %'",
			},
			[]string{"insert row 1", "insert row 2", "insert row 3", "insert row 4", "update row 2", "update row 4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[DeclBook]()
			// Inserts and deletes are not restricted.
			hooks.On(&DeclBook{}, triggers.Insert|triggers.Update|triggers.Delete, h, hooks.In(r), hooks.Broadcast(), hooks.Columns(c.columns...))
			db := declOpen(t, r)
			plugExec(t, db, "INSERT INTO decl_books (title, price) VALUES ('a', 0)")
			plugExec(t, db, c.writes...)
			want := append([]string{"insert a"}, c.want...)
			require.Equal(t, want, declTitles(t, db, got, "INSERT INTO decl_books (title) VALUES ('the end')"))
			plugExec(t, db, "DELETE FROM decl_books WHERE title = 'the end'")
			require.Equal(t, triggers.Delete, plugNext(t, got).Op)
		})
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		when string
		want []string
	}{
		"New":           {"NEW.price > 5", []string{"insert b", "update a", "update b"}},
		"Old":           {"OLD.price <= 5", []string{"update a", "delete c"}},
		"OldIsNull":     {"OLD IS NULL", []string{"insert a", "insert b", "insert c"}},
		"NewIsNull":     {"NEW.id IS NULL", []string{"delete b", "delete c"}},
		"Both":          {"COALESCE(OLD.price, NEW.price) <> COALESCE(NEW.price, OLD.price)", []string{"update a"}},
		"TgOp":          {"TG_OP = 'DELETE' OR (TG_OP = 'INSERT' AND NEW.title = 'a')", []string{"insert a", "delete b", "delete c"}},
		"TgOpLower":     {"tg_op = 'UPDATE' AND new.title = 'b'", []string{"update b"}},
		"Comment":       {"NEW.price > 5 -- dear books", []string{"insert b", "update a", "update b"}},
		"BlockComment":  {"/* dear */ NEW.price > 5 /* books", nil},
		"Percent":       {"NEW.title LIKE '%b%'", []string{"insert b", "update b"}},
		"Quotes":        {`NEW.title <> 'it''s $pubsub$ \ "x"' AND NEW.title = E'\x62'`, []string{"insert b", "update b"}},
		"QuestionMark":  {`'{"a":1}'::jsonb ? NEW.title`, []string{"insert a", "update a"}},
		"NullIsNotTrue": {"NEW.pages > 1", nil},
		"Subquery":      {"EXISTS (SELECT FROM public.decl_loans l WHERE l.decl_book_id = NEW.id)", []string{"update a"}},
		"Qualified":     {"NEW.title OPERATOR(pg_catalog.=) 'b'", []string{"insert b", "update b"}},
		"Newline":       {"NEW.title = 'b'\n\tAND NEW.price > 0\n", []string{"insert b", "update b"}},
		"OurNames":      {"NEW.title = 'b' AND (SELECT count(*) FROM (VALUES (1)) AS items (item)) = 1", []string{"insert b", "update b"}},
		"Row":           {"(NEW.price, NEW.title) IS DISTINCT FROM (OLD.price, OLD.title)", []string{"insert a", "insert b", "insert c", "update a", "delete b", "delete c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[DeclBook]()
			end := make(chan string, 1)
			hooks.On(&DeclBook{}, triggers.Insert|triggers.Update|triggers.Delete, h, hooks.In(r), hooks.Broadcast(), hooks.When(c.when))
			if name == "BlockComment" { // open to the end of the function
				db := pubsubtest.Open(t, pubsubtest.Registry(r))
				plugExec(t, db, "CREATE TABLE decl_books (id bigserial, title text, price float8)")
				require.ErrorContains(t, pubsubtest.Of(t, db).Migrate(t.Context()), "tests/declare_test.go:")
				return
			}
			hooks.OnTruncate(&DeclBook{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[DeclBook]) error { end <- ""; return nil },
				hooks.In(r), hooks.Broadcast())
			db := declOpen(t, r, &DeclLoan{}, &DeclBook{})
			plugExec(t, db,
				"INSERT INTO decl_loans (decl_book_id) VALUES (1)",
				"INSERT INTO decl_books (id, title, price) VALUES (101, 'a', 1), (102, 'b', 8), (103, 'c', 2)",
				"UPDATE decl_books SET price = 9, id = 1 WHERE title = 'a'",
				"UPDATE decl_books SET shelf = '(0,0)' WHERE title = 'b'",
				"DELETE FROM decl_books WHERE title = 'b'",
				"DELETE FROM decl_books WHERE title = 'c'",
				"TRUNCATE decl_books",
			)
			plugNext(t, end) // has arrived, and so has all before it
			require.Eventually(t, func() bool {
				s := pubsubtest.Of(t, db).Health().Subscriptions[0]
				return s.Waiting == 0 && s.Running == 0 && len(got) >= len(c.want)
			}, plugLimit, time.Millisecond)
			var titles []string
			for range len(got) {
				p := <-got
				row := p.New
				if row == nil {
					row = p.Old
				}
				titles = append(titles, p.Op.String()+" "+row.Title)
			}
			require.Equal(t, c.want, titles)
			require.Zero(t, pubsubtest.Of(t, db).Health().Subscriptions[0].Lost)
		})
	}
}

// A condition over whole rows, as the manual's own example has it.
func TestWhenOfWholeRows(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]string{"Stars": "OLD.* IS DISTINCT FROM NEW.*", "Rows": "OLD IS DISTINCT FROM NEW"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			h, got := plugCollect[MigOther]()
			hooks.OnUpdate(&MigOther{}, h, hooks.In(r), hooks.Broadcast(), hooks.When(when))
			db := declOpen(t, r, &MigOther{})
			plugExec(t, db, "INSERT INTO mig_others (name) VALUES ('a')", "UPDATE mig_others SET name = 'a'", "UPDATE mig_others SET name = 'b'")
			require.Equal(t, "b", plugNext(t, got).New.Name)
		})
	}
}

func TestWhenThatFails(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclBook]()
	hooks.On(&DeclBook{}, triggers.Insert|triggers.Update|triggers.Delete, h, hooks.In(r), hooks.Broadcast(), hooks.Channel("divided"),
		hooks.When("1 / COALESCE(NEW.pages, OLD.pages) >= 0"))
	url := plugURL(t)
	db, p := plugUse(t, url, r)
	require.NoError(t, db.AutoMigrate(&DeclBook{}))
	pubsubtest.Listen(t, db)

	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	var warnings []*pgconn.Notice
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warnings = append(warnings, n) }
	writer, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	defer func() { _ = writer.Close(context.Background()) }()
	for i, statement := range []string{
		"INSERT INTO decl_books (title, pages) VALUES ('zero', 0)",
		"UPDATE decl_books SET price = 1",
		"DELETE FROM decl_books",
	} {
		tag, err := writer.Exec(t.Context(), statement)
		require.NoError(t, err, "the write must succeed")
		require.Equal(t, int64(1), tag.RowsAffected())
		require.Len(t, warnings, i+1)
		require.Equal(t, "WARNING", warnings[i].Severity)
		require.Contains(t, warnings[i].Message, "divided")
		require.Contains(t, warnings[i].Message, "division by zero")
	}
	_, err = writer.Exec(t.Context(), "INSERT INTO decl_books (title, pages) VALUES ('one', 1)")
	require.NoError(t, err)
	require.Equal(t, "one", plugNext(t, got).New.Title)
	require.Equal(t, int64(3), p.Health().Subscriptions[0].Lost)
	require.Len(t, warnings, 3)
}

// DeclVeryLong has a table whose name leaves no room for the operation.
type DeclVeryLong struct{ ID int64 }

func (DeclVeryLong) TableName() string { return strings.Repeat("long_", 11) + "name" } // 59 bytes

// DeclUmlauts has one that can't be cut anywhere.
type DeclUmlauts struct{ ID int64 }

func (DeclUmlauts) TableName() string { return strings.Repeat("ä", 31) }

func TestDerivedChannels(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	names := 0
	opts := func(more ...hooks.Option) []hooks.Option {
		names++
		return append(more, hooks.In(r), hooks.Broadcast(), hooks.Name(fmt.Sprint(names)))
	}
	book := plugIgnore[DeclBook]
	hooks.OnInsert(&DeclBook{}, book, opts()...)                                           // 0
	hooks.OnSave(&DeclBook{}, book, opts()...)                                             // 1
	hooks.OnUpdate(&DeclBook{}, book, opts(hooks.Columns("Title"))...)                     // 2
	hooks.OnUpdate(&DeclBook{}, book, opts(hooks.Columns("title"))...)                     // 3: the same
	hooks.OnUpdate(&DeclBook{}, book, opts(hooks.Columns("Title", "Price"))...)            // 4
	hooks.OnUpdate(&DeclBook{}, book, opts(hooks.When("NEW.price > 1"))...)                // 5
	hooks.OnUpdate(&DeclBook{}, book, opts(hooks.When("NEW.price > 2"))...)                // 6
	hooks.OnInsert(&DeclVeryLong{}, plugIgnore[DeclVeryLong], opts()...)                   // 7
	hooks.OnDelete(&DeclVeryLong{}, plugIgnore[DeclVeryLong], opts()...)                   // 8
	hooks.OnInsert(&DeclUmlauts{}, plugIgnore[DeclUmlauts], opts()...)                     // 9
	hooks.OnDelete(&DeclVeryLong{}, plugIgnore[DeclVeryLong], opts(hooks.Channel("x"))...) // 10
	db := pubsubtest.Open(t, pubsubtest.Registry(r), pubsubtest.Models(&DeclBook{}, &DeclVeryLong{}, &DeclUmlauts{}))
	p := pubsubtest.Of(t, db)
	pubsubtest.Listen(t, db)
	health := p.Health().Subscriptions
	require.Len(t, health, names)
	channel := func(i int) string { return health[i].Channel }

	require.Equal(t, "decl_books_insert", channel(0))
	require.Equal(t, "decl_books_save", channel(1))
	for _, i := range []int{2, 4, 5, 6} {
		require.Regexp(t, `^decl_books_update_[0-9a-f]{8}$`, channel(i))
	}
	require.Equal(t, channel(2), channel(3))
	different := map[string]bool{}
	for i := range health {
		require.LessOrEqual(t, len(channel(i)), 63)
		different[channel(i)] = true
	}
	require.Len(t, different, names-1)
	for _, i := range []int{7, 8} {
		require.Regexp(t, `^long_.*_[0-9a-f]{8}$`, channel(i))
	}
	require.Regexp(t, `^ä+_[0-9a-f]{8}$`, channel(9))
	require.NoError(t, p.Verify(t.Context()))

	// The names are the same in every process.
	again, q := plugUse(t, db.Dialector.(interface{ Unwrap() gorm.Dialector }).Unwrap().(*postgres.Dialector).DSN, r)
	require.NotNil(t, again)
	channels, err := q.Channels()
	require.NoError(t, err)
	require.Len(t, channels, names-1)
	for _, c := range channels {
		require.True(t, different[c], c)
	}
}

// Two functions on one channel are both called.
func TestTwoDeclarationsShareAChannel(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h1, got1 := plugCollect[DeclBook]()
	h2, got2 := plugCollect[DeclBook]()
	hooks.OnUpdate(&DeclBook{}, h1, hooks.In(r), hooks.Broadcast(), hooks.Name("one"), hooks.Columns("Title"))
	hooks.OnUpdate(&DeclBook{}, h2, hooks.In(r), hooks.Broadcast(), hooks.Name("two"), hooks.Columns("title"))
	db := declOpen(t, r)
	require.Equal(t, "decl_books:1", migTriggered(t, db))
	plugExec(t, db, "INSERT INTO decl_books (title) VALUES ('a')", "UPDATE decl_books SET title = 'b'")
	require.Equal(t, "b", plugNext(t, got1).New.Title)
	require.Equal(t, "b", plugNext(t, got2).New.Title)
}

func TestDeclarationMistakesPanic(t *testing.T) {
	t.Parallel()
	type number int
	for name, declare := range map[string]func(in hooks.Option, place *string){
		"NilHandler": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.OnInsert(&DeclBook{}, nil, in)
		},
		"NoStruct": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.OnInsert(new(number), plugIgnore[number], in)
		},
		"PointerToPointer": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.OnInsert(new(*DeclBook), plugIgnore[*DeclBook], in)
		},
		"NoOperation": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.On(&DeclBook{}, 0, plugIgnore[DeclBook], in)
		},
		"UnknownOperation": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.On(&DeclBook{}, 1<<6, plugIgnore[DeclBook], in)
		},
		"ColumnsOnInsert": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.OnInsert(&DeclBook{}, plugIgnore[DeclBook], in, hooks.Columns("Title"))
		},
		"WhenOnTruncate": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.OnTruncate(&DeclBook{}, plugIgnore[DeclBook], in, hooks.When("true"))
		},
		"WhenOnSomeTruncate": func(in hooks.Option, place *string) {
			*place = plugHere()
			hooks.On(&DeclBook{}, triggers.Insert|triggers.Truncate, plugIgnore[DeclBook], in, hooks.When("true"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			var place string
			message := declPanic(t, func() { declare(hooks.In(r), &place) })
			require.Contains(t, message, place)
			require.Contains(t, message, "pubsub: ")
			require.NotContains(t, message, `channel "x"`, "nobody has named a channel so")
			require.Empty(t, r.Subscriptions(), "a refused declaration is none")
		})
	}
	for name, opt := range map[string]hooks.Option{
		"Concurrency":     hooks.Concurrency(0),
		"Buffer":          hooks.Buffer(0),
		"BufferBelow":     hooks.Buffer(-1),
		"Timeout":         hooks.Timeout(-time.Second),
		"Name":            hooks.Name(""),
		"In":              hooks.In(nil),
		"Channel":         hooks.Channel(""),
		"ChannelTooLong":  hooks.Channel(strings.Repeat("c", 64)),
		"ChannelZeroByte": hooks.Channel("a\x00b"),
		"Columns":         hooks.Columns(),
		"When":            hooks.When(""),
		"WhenZeroByte":    hooks.When("NEW.title = '\x00'"),
	} {
		t.Run("Option/"+name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			var place string
			message := declPanic(t, func() {
				place = plugHere()
				hooks.OnUpdate(&DeclBook{}, plugIgnore[DeclBook], hooks.In(r), opt)
			})
			require.Contains(t, message, place)
			require.Contains(t, message, "pubsub: ")
			require.Empty(t, r.Subscriptions())
		})
	}
	t.Run("DuplicateName", func(t *testing.T) {
		t.Parallel()
		r := hooks.NewRegistry()
		first := plugHere()
		hooks.OnInsert(&DeclBook{}, plugIgnore[DeclBook], hooks.In(r), hooks.Name("taken"))
		var second string
		message := declPanic(t, func() {
			second = plugHere()
			hooks.OnDelete(&DeclLoan{}, plugIgnore[DeclLoan], hooks.In(r), hooks.Name("taken"))
		})
		require.Contains(t, message, first)
		require.Contains(t, message, second)
		require.Contains(t, message, `"taken"`)
		require.Len(t, r.Subscriptions(), 1)
		hooks.OnDelete(&DeclLoan{}, plugIgnore[DeclLoan], hooks.In(hooks.NewRegistry()), hooks.Name("taken")) // elsewhere it is free
	})
}

func declNamed(context.Context, *gorm.DB, hooks.TriggerPayload[DeclBook]) error { return nil }

func declGeneric[M any](context.Context, *gorm.DB, hooks.TriggerPayload[M]) error { return nil }

type declCounter struct{ calls atomic.Int64 }

func (c *declCounter) Count(context.Context, *gorm.DB, hooks.TriggerPayload[DeclBook]) error {
	c.calls.Add(1)
	return nil
}

func (c *declCounter) counting() hooks.Handler[DeclBook] { return c.Count }

func declClosure(c *declCounter) hooks.Handler[DeclBook] {
	return func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[DeclBook]) error {
		return c.Count(ctx, tx, p)
	}
}

func TestNamesOfSubscriptions(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in, cast := hooks.In(r), hooks.Broadcast()
	one, two := &declCounter{}, &declCounter{}
	hooks.OnInsert(&DeclBook{}, declNamed, in, cast)
	hooks.OnSoftDelete(&DeclBook{}, declNamed, in, cast)
	hooks.On(&DeclBook{}, triggers.Insert|triggers.Delete, declNamed, in, cast)
	hooks.OnInsert(&DeclBook{}, declGeneric[DeclBook], in, cast)
	hooks.OnInsert(&DeclLoan{}, declGeneric[DeclLoan], in, cast)
	hooks.OnInsert(&DeclBook{}, one.Count, in, cast)
	place := plugHere()
	hooks.OnInsert(&DeclBook{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[DeclBook]) error { return nil }, in, cast)
	hooks.OnInsert(&DeclBook{}, declClosure(one), in, cast)
	hooks.OnInsert(&DeclBook{}, declClosure(two), in, cast) // on another line
	hooks.OnInsert(&DeclBook{}, two.counting(), in, cast, hooks.Name("by name"))
	subs := r.Subscriptions()
	names := make([]string, len(subs))
	for i, s := range subs {
		names[i] = s.Name()
		require.Regexp(t, `^tests/declare_test\.go:\d+$`, s.Site())
	}
	require.Equal(t, []string{
		"DeclBook.insert.declNamed", "DeclBook.soft_delete.declNamed", "DeclBook.insert_delete.declNamed",
		"DeclBook.insert.declGeneric", "DeclLoan.insert.declGeneric", "DeclBook.insert.declCounter.Count",
	}, names[:6])
	require.Equal(t, "DeclBook.insert."+place, names[6])
	require.Equal(t, place, subs[6].Site())
	require.Equal(t, "by name", names[9])
	seen := map[string]bool{}
	for _, n := range names {
		require.False(t, seen[n], n)
		seen[n] = true
	}

	// The second method value of one method has the first one's name.
	require.Contains(t, declPanic(t, func() { hooks.OnInsert(&DeclBook{}, two.Count, in, cast) }), "Name(")

	db := declOpen(t, r)
	require.NoError(t, db.Create(&DeclBook{Title: "a"}).Error)
	require.Eventually(t, func() bool { return one.calls.Load() == 2 && two.calls.Load() == 2 }, plugLimit, time.Millisecond)
}

func TestNaNIsUnchanged(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclBook]()
	hooks.OnUpdate(&DeclBook{}, h, hooks.In(r), hooks.Broadcast())
	db := declOpen(t, r)
	plugExec(t, db, "INSERT INTO decl_books (title, price) VALUES ('a', 'NaN')", "UPDATE decl_books SET title = 'b'")
	p := plugNext(t, got)
	require.True(t, p.Changed("Title"))
	require.False(t, p.Changed("Price"), "Postgres takes NaN for equal to NaN")
}

func TestDeclareAfterUse(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	h, got := plugCollect[DeclBook]()
	db, p := plugUse(t, plugURL(t), r)
	require.NoError(t, db.AutoMigrate(&DeclBook{}))
	require.NoError(t, p.Migrate(t.Context()))
	require.Empty(t, migTriggered(t, db))
	hooks.OnInsert(&DeclBook{}, h, hooks.In(r), hooks.Broadcast())
	require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrDrift)
	require.NoError(t, p.Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&DeclBook{Title: "a"}).Error)
	require.Equal(t, "a", plugNext(t, got).New.Title)

	place := plugHere()
	hooks.OnUpdate(&DeclBook{}, plugIgnore[DeclBook], hooks.In(r), hooks.Name("late and wrong"), hooks.Columns("nix"))
	for name, err := range map[string]error{"Migrate": p.Migrate(t.Context()), "Verify": p.Verify(t.Context()), "Listen": p.Listen(t.Context())} {
		require.ErrorContains(t, err, `no column "nix"`, name)
		require.ErrorContains(t, err, place, name)
	}
}
