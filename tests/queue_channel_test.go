package tests

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// missive is a value with many parts.
type missive struct {
	Text   string
	Number int64
	Float  float64
	Bytes  []byte
	At     time.Time
	Many   map[string][]*missive
	Any    any
	Raw    json.RawMessage
	Maybe  *int
}

func migrated(t *testing.T, r *listener.Registry) *gorm.DB {
	t.Helper()
	db, _ := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	return db
}

func TestQueueChannelValues(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[missive]("values", listener.In(r))
	one, two := newInbox[missive](), newInbox[missive]()
	c.Listen(one.put, listener.Name("one"))
	c.Listen(two.put, listener.Name("two"), listener.Leased(time.Minute))
	db := migrated(t, r)
	seven := 7
	values := []missive{
		{},
		{Text: "\x00 and \\u0000 and \"quotes\" ' \\ € 😀 \u2028 <tag>"},
		{Text: string([]rune{0xd7ff, 0xe000, 0xfffd, 0x10ffff})},
		{Number: math.MinInt64, Float: math.SmallestNonzeroFloat64, Bytes: []byte{0, 255, 1}, At: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)},
		{Many: map[string][]*missive{"a": {{Text: "b", Maybe: &seven, Raw: json.RawMessage("7")}, nil}, "": {}}, Any: []any{"x", nil, true, 1.5, map[string]any{"k": "v"}}, Raw: json.RawMessage(`{"raw":[1,2,{"x":null}]}`)},
		{Text: strings.Repeat("x", 7_999)},
		{Text: strings.Repeat("€\x00", 100_000)}, // 400 kB, and as JSON 900
		{Text: strings.Repeat("y", 1<<20)},
	}
	for _, v := range values {
		if len(v.Raw) == 0 {
			v.Raw = json.RawMessage("null") // as it comes back
		}
		require.NoError(t, c.Notify(t.Context(), db, v))
	}
	require.EqualValues(t, 2*len(values), left(t, db, "event"))
	pubsubtest.Listen(t, db)
	for _, in := range []inbox[missive]{one, two} {
		for i, got := range in.take(t, len(values)) {
			want := values[i]
			if len(want.Raw) == 0 {
				want.Raw = json.RawMessage("null")
			}
			require.Equal(t, triggers.Digest(want.Text), triggers.Digest(got.Text), "value %d", i) // a megabyte is not to be printed
			want.Text, got.Text = "", ""
			require.Equal(t, want, got)
		}
	}
	drained(t, db)
}

// Values whose JSON is no object.
func TestQueueChannelKinds(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	texts := listener.NewChannel[string]("texts", listener.In(r))
	pointers := listener.NewChannel[*int]("pointers", listener.In(r))
	nothings := listener.NewChannel[struct{}]("nothings", listener.In(r))
	anys := listener.NewChannel[any]("O'Reilly \"quoted\" \\ €", listener.In(r))
	lists := listener.NewChannel[[]bool]("lists", listener.In(r))
	a, b, c, d, e := newInbox[string](), newInbox[*int](), newInbox[struct{}](), newInbox[any](), newInbox[[]bool]()
	texts.Listen(a.put, listener.Name("a"))
	pointers.Listen(b.put, listener.Name("b"))
	nothings.Listen(c.put, listener.Name("c"))
	anys.Listen(d.put, listener.Name("d"))
	lists.Listen(e.put, listener.Name("e"))
	db := migrated(t, r)
	pubsubtest.Listen(t, db)
	require.NoError(t, texts.Notify(t.Context(), db, ""))
	require.NoError(t, pointers.Notify(t.Context(), db, nil))
	require.NoError(t, nothings.Notify(t.Context(), db, struct{}{}))
	require.NoError(t, anys.Notify(t.Context(), db, nil))
	require.NoError(t, anys.Notify(t.Context(), db, "x"))
	require.NoError(t, lists.Notify(t.Context(), db, nil))
	require.NoError(t, lists.Notify(t.Context(), db, []bool{true}))
	require.Empty(t, a.next(t))
	require.Nil(t, b.next(t))
	c.next(t)
	require.Nil(t, d.next(t))
	require.Equal(t, "x", d.next(t))
	require.Empty(t, e.next(t))
	require.Equal(t, []bool{true}, e.next(t))
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
}

func TestQueueChannelTransactions(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[string]("news", listener.In(r))
	in := newInbox[string]()
	c.Listen(in.put)
	silent := listener.NewChannel[string]("silent", listener.In(r))
	db := migrated(t, r)
	pubsubtest.Listen(t, db)
	undo := errors.New("undo")
	send := func(tx *gorm.DB, v string) {
		require.NoError(t, c.Notify(t.Context(), tx, v))
	}
	require.NoError(t, silent.Notify(t.Context(), db, "nobody hears it"))
	require.Zero(t, left(t, db, "event"), "no subscription, no event")
	require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error { send(tx, "rolled back"); return undo }), undo)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		send(tx, "outer")
		require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error { send(tx, "to a savepoint"); return undo }), undo)
		require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { send(tx, "inner"); return nil }))
		tx.SavePoint("s")
		send(tx, "rolled back to s")
		tx.RollbackTo("s")
		require.Never(t, func() bool { return len(in) > 0 }, 50*time.Millisecond, 5*time.Millisecond, "before the commit")
		return nil
	}))
	send(db, "after")
	require.Equal(t, []string{"outer", "inner", "after"}, in.take(t, 3))
	drained(t, db)
	require.Empty(t, in)
	bare, err := gorm.Open(db.Dialector, &gorm.Config{})
	require.NoError(t, err)
	require.ErrorIs(t, c.Notify(t.Context(), bare, "x"), listener.ErrNotInstalled)
	dry := db.Session(&gorm.Session{DryRun: true})
	require.NoError(t, c.Notify(t.Context(), dry, "x"))
	require.Zero(t, left(t, db, "event"))
	pool, err := bare.DB()
	require.NoError(t, err)
	require.NoError(t, pool.Close())
}

// A function may notify through tx: what it sends comes if it succeeds.
func TestQueueChannelNotifiesFromAFunction(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	first := listener.NewChannel[int]("first", listener.In(r))
	second := listener.NewChannel[int]("second", listener.In(r))
	in := newInbox[int]()
	first.Listen(func(ctx context.Context, tx *gorm.DB, v int) error {
		if err := second.Notify(ctx, tx, v); err != nil {
			return err
		}
		if v%10 == 3 {
			return listener.Discard(errors.New("no"))
		}
		return nil
	}, listener.Name("first"))
	second.Listen(in.put, listener.Name("second"))
	db := migrated(t, r)
	pubsubtest.Listen(t, db)
	for n := range 100 {
		require.NoError(t, first.Notify(t.Context(), db, n))
	}
	drained(t, db)
	require.Len(t, in, 90)
	seen := map[int]bool{}
	for _, v := range in.take(t, 90) {
		require.NotEqual(t, 3, v%10)
		require.False(t, seen[v])
		seen[v] = true
	}
	require.Len(t, deadLetters(t, db), 10)
}

func TestQueueChannelDelay(t *testing.T) {
	t.Parallel()
	type arrived struct {
		name string
		at   time.Time
	}
	r := hooks.NewRegistry()
	c := listener.NewChannel[string]("later", listener.In(r))
	in := newInbox[arrived]()
	c.Listen(func(_ context.Context, _ *gorm.DB, v string) error {
		in <- arrived{v, time.Now()}
		return nil
	}, listener.Name("later"))
	db := migrated(t, r)
	pubsubtest.Listen(t, db)
	asleep(t, db, "later")
	at := time.Now()
	want := map[string]time.Duration{"delayed": 400 * time.Millisecond, "at": 800 * time.Millisecond, "zero": 0, "negative": 0, "past": 0, "last": 1200 * time.Millisecond}
	require.NoError(t, c.Notify(t.Context(), db, "last", listener.RunAt(at.Add(want["last"]).In(time.FixedZone("x", 3600)))))
	require.NoError(t, c.Notify(t.Context(), db, "at", listener.RunAt(at.Add(want["at"]))))
	require.NoError(t, c.Notify(t.Context(), db, "delayed", listener.Delay(want["delayed"])))
	require.NoError(t, c.Notify(t.Context(), db, "zero", listener.Delay(0)))
	require.NoError(t, c.Notify(t.Context(), db, "negative", listener.Delay(-time.Hour)))
	require.NoError(t, c.Notify(t.Context(), db, "past", listener.RunAt(at.Add(-time.Hour))))
	require.NoError(t, c.Notify(t.Context(), db, "never", listener.Delay(100*365*24*time.Hour)))
	for range len(want) {
		a := in.next(t)
		require.Contains(t, want, a.name)
		require.GreaterOrEqual(t, a.at.Sub(at), want[a.name], a.name)
		require.Less(t, a.at.Sub(at), want[a.name]+prompt, a.name)
		delete(want, a.name)
	}
	require.Empty(t, want)
	within(t, time.Second, func() bool { return left(t, db, "event") == 1 }, "only the one of the far future is left")
	// In a transaction that commits after the time has come.
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.NoError(t, c.Notify(t.Context(), tx, "late commit", listener.Delay(20*time.Millisecond)))
		time.Sleep(300 * time.Millisecond)
		at = time.Now()
		return nil
	}))
	a := in.next(t)
	require.Equal(t, "late commit", a.name)
	require.Less(t, a.at.Sub(at), prompt)
	broadcast := listener.NewChannel[string]("broadcast", listener.Broadcast(), listener.In(hooks.NewRegistry()))
	require.Error(t, broadcast.Notify(t.Context(), db, "x", listener.Delay(time.Second)))
}

func TestQueueChannelUndecodable(t *testing.T) {
	t.Parallel()
	texts := hooks.NewRegistry()
	sender := listener.NewChannel[any]("values", listener.In(texts))
	r := hooks.NewRegistry()
	c := listener.NewChannel[int]("values", listener.In(r))
	in := newInbox[int]()
	c.Listen(in.put, listener.Name("numbers"))
	db := migrated(t, r)
	pubsubtest.Listen(t, db)
	for _, v := range []any{1, "secret", 2, map[string]any{"secret": "secret"}, 1e30, 3} {
		require.NoError(t, sender.Notify(t.Context(), db, v))
	}
	require.Equal(t, []int{1, 2, 3}, in.take(t, 3))
	drained(t, db)
	letters := deadLetters(t, db)
	require.Len(t, letters, 3)
	for _, l := range letters {
		require.Equal(t, 1, l.Attempt)
		require.Equal(t, "numbers", l.Subscription)
		require.NotContains(t, l.Error, "secret")
		require.NotEmpty(t, l.Error)
	}
	require.JSONEq(t, `"secret"`, letters[0].Payload)
}

func TestQueueChannelTooLarge(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[string]("large", listener.In(r))
	in := newInbox[string]()
	c.Listen(in.put)
	db := migrated(t, r)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		require.ErrorIs(t, c.Notify(t.Context(), tx, strings.Repeat("x", 256<<20)), listener.ErrTooLarge)
		return c.Notify(t.Context(), tx, "small") // the transaction goes on
	}))
	runtime.GC()
	pubsubtest.Listen(t, db)
	require.Equal(t, "small", in.next(t))
}
