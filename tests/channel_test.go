package tests

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// bulletin is a typed channel's value.
type bulletin struct {
	Title string
	Pages int
}

// onAir returns a channel of bulletins that somebody listens to.
func onAir(t *testing.T) (*listener.Channel[bulletin], inbox[bulletin], *gorm.DB, *tape) {
	t.Helper()
	r := hooks.NewRegistry()
	c := listener.NewChannel[bulletin]("bulletins", listener.Broadcast(), listener.In(r))
	in := newInbox[bulletin]()
	c.Listen(in.put, listener.Name("bulletins"))
	db, log := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	return c, in, db, log
}

func TestNotifyInTransactions(t *testing.T) {
	t.Parallel()
	c, in, db, _ := onAir(t)
	undo := errors.New("undo")
	send := func(tx *gorm.DB, title string) {
		require.NoError(t, c.Notify(t.Context(), tx, bulletin{Title: title}))
	}
	require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error { send(tx, "rolled back"); return undo }), undo)
	send(db, "outside")
	require.Equal(t, "outside", in.next(t).Title)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		send(tx, "twice")
		require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error { send(tx, "rolled back to a savepoint"); return undo }), undo)
		send(tx, "twice")
		tx.SavePoint("s")
		send(tx, "rolled back to s")
		tx.RollbackTo("s")
		require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { send(tx, "inner"); return nil }))
		send(db, "meanwhile")
		require.Equal(t, "meanwhile", in.next(t).Title)
		send(tx.Session(&gorm.Session{PrepareStmt: true}), "prepared")
		return nil
	}))
	send(db.Session(&gorm.Session{NewDB: true, SkipDefaultTransaction: true}), "session")
	send(db.Where("1 = 0").Model(&parcel{}), "with clauses")
	var got []string
	for _, b := range in.take(t, 6) {
		got = append(got, b.Title)
	}
	require.Equal(t, []string{"twice", "twice", "inner", "prepared", "session", "with clauses"}, got)
	require.Empty(t, in)
}

func TestNotifyFails(t *testing.T) {
	t.Parallel()
	c, in, db, _ := onAir(t)
	bare, err := gorm.Open(postgres.Open(dsnOf(t, db)), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := bare.DB()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	require.ErrorIs(t, c.Notify(t.Context(), bare, bulletin{}), listener.ErrNotInstalled)

	fresh := pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()))
	require.ErrorIs(t, c.Notify(t.Context(), fresh, bulletin{}), triggers.ErrNotMigrated)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Notify(cancelled, db, bulletin{}), context.Canceled)

	tx := db.Begin()
	require.Error(t, tx.Exec("SELECT 1/0").Error)
	err = c.Notify(t.Context(), tx, bulletin{Title: "aborted"})
	require.ErrorContains(t, err, "25P02")
	require.ErrorContains(t, err, `"bulletins"`)
	require.NoError(t, tx.Rollback().Error)
	require.Error(t, c.Notify(t.Context(), tx, bulletin{Title: "over"}), "the transaction has ended")
	failed := db.Session(&gorm.Session{NewDB: true})
	_ = failed.AddError(gorm.ErrInvalidData)
	require.ErrorIs(t, c.Notify(t.Context(), failed, bulletin{}), gorm.ErrInvalidData)

	require.NoError(t, c.Notify(t.Context(), db.Session(&gorm.Session{DryRun: true}), bulletin{Title: "dry"}))
	require.ErrorIs(t, c.Notify(t.Context(), bare.Session(&gorm.Session{DryRun: true}), bulletin{}), listener.ErrNotInstalled)

	numbers := listener.NewChannel[float64]("numbers", listener.Broadcast(), listener.In(hooks.NewRegistry()))
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		var unsupported *json.UnsupportedValueError
		require.ErrorAs(t, numbers.Notify(t.Context(), tx, math.NaN()), &unsupported)
		return c.Notify(t.Context(), tx, bulletin{Title: "right"}) // an encoding error breaks nothing
	}))
	require.Equal(t, bulletin{Title: "right"}, in.next(t))
	require.Empty(t, in)
}

func TestNotifyFromSQL(t *testing.T) {
	t.Parallel()
	_, in, db, log := onAir(t)
	require.NoError(t, db.Exec(`NOTIFY "bulletins", '{"Title": "typed into psql", "Pages": 3, "Other": []}'`).Error)
	require.Equal(t, bulletin{"typed into psql", 3}, in.next(t))
	require.NoError(t, db.Exec(`SELECT pubsub.notify('bulletins', '{"Title": "by our function"}')`).Error)
	require.Equal(t, bulletin{Title: "by our function"}, in.next(t))

	// What can't be decoded is counted and stops nothing.
	undecodable := []string{
		``, `nonsense`, `[1]`, `{"Title": 1}`, `{"Title": "x"} and more`, `{"pubsub":1,"stored":true}`, `{"pubsub":1}`, `{"pubsub":1,"at":1,"data":}`,
		`{"pubsub":1,"at":1,"op":"insert","rows":[{}]}`, `{"pubsub":99999999999999999999,"stored":true}`,
	}
	decodable := []string{`null`, `{}`, "\n {\"Title\":\"\"}\t", `{"pubsub":1,"at":1,"data":{}}`, `{"pubsub":"mine"}`}
	for _, payload := range append(undecodable, decodable...) {
		require.NoError(t, db.Exec("SELECT pg_notify('bulletins', ?)", payload).Error)
	}
	require.NoError(t, db.Exec(`NOTIFY "bulletins", '{"Title": "the last"}'`).Error)
	var wrong int
	for {
		b := in.next(t)
		if b.Title == "the last" {
			break
		}
		require.Zero(t, b)
		wrong++
	}
	// A foreign object without any of the value's fields may be taken for an
	// empty value, as encoding/json does.
	require.LessOrEqual(t, wrong, len(decodable)+3)
	require.GreaterOrEqual(t, wrong, len(decodable))
	failed := len(undecodable) + len(decodable) - wrong
	comesTrue(t, func() bool { return counters(t, db, "bulletins").Failed == int64(failed) }, "counted")
	lines := log.with(slog.LevelError, "a listener failed")
	require.Len(t, lines, failed)
	require.Equal(t, "bulletins", lines[0]["channel"])
}

func TestNotifyOnATablesChannel(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onParcel(r, "p", in.put)
	db, log := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	payloads := []string{
		`{"id": 1, "label": "forged"}`, `[{"id":1}]`, `nonsense`, `{"pubsub":1,"at":1,"op":"insert","rows":[`, `{"pubsub":1,"at":1,"op":"insert","rows":}`,
		`{"pubsub":1,"at":1,"op":"insert","rows":{}}`, `{"pubsub":1,"at":1,"op":"update","rows":[[{}]]}`, `{"pubsub":1,"at":1,"op":"merge","rows":[]}`,
		`{"pubsub":1,"at":1,"data":{"id":1}}`, `{"pubsub":1,"stored":true}`,
	}
	for _, payload := range payloads {
		require.NoError(t, db.Exec("SELECT pg_notify('parcels_insert', ?)", payload).Error)
	}
	create(t, db, "real")
	require.Equal(t, "real", in.next(t))
	require.EqualValues(t, len(payloads), counters(t, db, "p").Failed)
	require.Len(t, log.with(slog.LevelError, "a listener failed"), len(payloads))
}

// roundTrip notifies values, which must arrive as they are.
func roundTrip[T any](values ...T) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		t.Parallel()
		r := hooks.NewRegistry()
		c := listener.NewChannel[T]("values", listener.Broadcast(), listener.In(r))
		in := newInbox[T]()
		c.Listen(in.put)
		db, _ := taped(t, r, nil)
		require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
		pubsubtest.Listen(t, db)
		for _, v := range values {
			require.NoError(t, c.Notify(t.Context(), db, v))
		}
		require.Equal(t, values, in.take(t, len(values)))
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	sizes := make([]string, 0, 300)
	for n := range 300 { // around what fits into one notification
		sizes = append(sizes, strings.Repeat("é", 1000)+strings.Repeat("x", 5850+n))
	}
	for name, test := range map[string]func(*testing.T){
		"String":    roundTrip("", "x", `"quoted" \ 'it''s' $1 $$ %s`, "\x00\x01\u007f\n", "日本 🎉 </script>", strings.Repeat("x", 1<<20), "{", `{"pubsub":1`),
		"Int":       roundTrip[int64](0, -1, math.MaxInt64, math.MinInt64),
		"Uint":      roundTrip[uint64](0, math.MaxUint64),
		"Float":     roundTrip(0.1, -0.5, math.MaxFloat64, math.SmallestNonzeroFloat64),
		"Bool":      roundTrip(true, false),
		"Bytes":     roundTrip([]byte{}, []byte{0, 255}, make([]byte, 1<<20)),
		"Struct":    roundTrip(bulletin{}, bulletin{"x", 1}),
		"Pointer":   roundTrip(nil, &bulletin{"x", 1}),
		"Map":       roundTrip(map[string]bulletin{}, map[string]bulletin{`"`: {"x", 1}}),
		"Slice":     roundTrip([]bulletin{}, []bulletin{{"x", 1}, {}}),
		"Any":       roundTrip[any](nil, "x", 1.5, []any{true}, map[string]any{"pubsub": 1.0}),
		"Raw":       roundTrip(json.RawMessage(`{"rows":[]}`), json.RawMessage(`null`), json.RawMessage(`1e400`)),
		"Time":      roundTrip(time.Date(2024, 2, 3, 4, 5, 6, 123456789, time.UTC)),
		"Recursive": roundTrip(treeNode{"a", []treeNode{{"b", nil}}}),
		"Empty":     roundTrip(struct{}{}),
		"Sizes":     roundTrip(sizes...),
	} {
		t.Run(name, test)
	}
}

type treeNode struct {
	Name     string
	Children []treeNode
}

func TestChannelNames(t *testing.T) {
	t.Parallel()
	names := []string{
		"UPPER and lower", `it's "quoted"`, `back\slash`, `\`, "日本 🎉", "a.b", "$1", "%s", "new\nline", " ", "select", `"`, `""`,
		strings.Repeat("x", 63), strings.Repeat("é", 31) + "x", "pubsub", "--", "*",
	}
	r := hooks.NewRegistry()
	values, rows := map[string]inbox[string]{}, map[string]inbox[string]{}
	channels := map[string]*listener.Channel[string]{}
	for _, name := range names {
		c := listener.NewChannel[string](name, listener.Broadcast(), listener.In(r))
		require.Equal(t, name, c.Name())
		channels[name], values[name] = c, newInbox[string]()
		c.Listen(values[name].put)
	}
	rowRegistry := hooks.NewRegistry()
	for _, name := range names {
		rows[name] = newInbox[string]()
		onParcel(rowRegistry, name, rows[name].put, hooks.Channel(name))
	}
	db, _ := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	tables, _ := taped(t, rowRegistry, []any{&parcel{}}, pubsub.Schema(`odd "schema"`))
	require.NoError(t, pubsubtest.Of(t, tables).Verify(t.Context()))
	pubsubtest.Listen(t, tables)
	create(t, tables, "to all", strings.Repeat("large", 2_000))
	for _, name := range names {
		require.NoError(t, channels[name].Notify(t.Context(), db, "to "+name))
		require.NoError(t, db.Exec("SELECT pg_notify(?, ?)", name, `"from SQL"`).Error)
	}
	for _, name := range names {
		require.Equal(t, []string{"to " + name, "from SQL"}, values[name].take(t, 2), name)
		require.Equal(t, "to all", rows[name].next(t), name)
		require.Len(t, rows[name].next(t), 10_000, name)
		sessions, err := pubsubtest.Of(t, db).Listeners(t.Context(), name)
		require.NoError(t, err)
		require.Len(t, sessions, 1)
	}
}
