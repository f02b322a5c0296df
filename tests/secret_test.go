package tests

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// secret must not get into a log. It has no character that is escaped.
const secret = "hunter2hunter2"

// vault is the model of tests about secrets.
type vault struct {
	ID     int64
	Secret string
	Pin    int64
}

func (vault) TableName() string { return "vaults" }

// textPin is a vault as it is when its table has another type than the model.
type textPin struct {
	ID     int64
	Secret string
	Pin    string
}

func (textPin) TableName() string { return "vaults" }

func checkSecret(t *testing.T, log *tape) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		assert.NotContains(t, line, secret)
	}
}

func TestPayloadsAreNotLogged(t *testing.T) {
	t.Parallel()
	type message struct{ Secret string }
	r := hooks.NewRegistry()
	news := listener.NewChannel[message]("news", listener.Broadcast(), listener.In(r))
	release := make(chan struct{})
	fail := map[string]func(context.Context) error{
		"error": func(context.Context) error { return errors.New("failed") },
		"panic": func(context.Context) error { panic("failed") },
		"full":  func(context.Context) error { <-release; return nil },
		"timed": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	}
	for name, f := range fail {
		hooks.OnSave(&vault{}, func(ctx context.Context, _ *gorm.DB, p hooks.TriggerPayload[vault]) error {
			if p.New.Secret != secret {
				return nil
			}
			return f(ctx)
		}, hooks.Broadcast(), hooks.In(r), hooks.Name(name), hooks.Buffer(3), hooks.Timeout(time.Millisecond))
		news.Listen(func(ctx context.Context, _ *gorm.DB, m message) error {
			if m.Secret != secret {
				return nil
			}
			return f(ctx)
		}, listener.Name("news "+name), listener.Buffer(3), listener.Timeout(time.Millisecond))
	}
	db, log := taped(t, r, []any{&vault{}})
	stop := pubsubtest.Listen(t, db)
	for range 5 {
		require.NoError(t, db.Create(&vault{Secret: secret}).Error)
		require.NoError(t, news.Notify(t.Context(), db, message{secret}))
	}
	require.NoError(t, db.Exec("UPDATE vaults SET pin = 1").Error)
	comesTrue(t, func() bool {
		return counters(t, db, "panic").Failed+counters(t, db, "panic").Dropped > 0 && counters(t, db, "news panic").Failed > 0 &&
			counters(t, db, "full").Dropped > 0 && counters(t, db, "news full").Dropped > 0
	}, "everything has gone wrong")
	close(release)
	stop()
	require.NotEmpty(t, log.with(slog.LevelError, "a listener failed"))
	require.NotEmpty(t, log.with(slog.LevelWarn, "broadcasts were dropped"))
	checkSecret(t, log)
}

// ballot has parts whose decoders like to quote what they can't read.
type ballot struct {
	At    time.Time
	Count int `json:",string"`
	ByKey map[int]string
	Small int8
}

// A value that can't be decoded is told of without the value.
func TestUndecodableValuesAreNotLogged(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	news := listener.NewChannel[ballot]("news", listener.Broadcast(), listener.In(r))
	news.Listen(newInbox[ballot]().put, listener.Name("news"))
	number := listener.NewChannel[int8]("number", listener.Broadcast(), listener.In(r))
	number.Listen(newInbox[int8]().put, listener.Name("number"))
	db, log := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	values := []string{
		`{"At":"` + secret + `"}`, `{"Count":"` + secret + `"}`, `{"ByKey":{"` + secret + `":"x"}}`, `{"Small":"` + secret + `"}`,
		secret, `{"` + secret, `"` + secret + `"`,
	}
	for _, v := range values {
		require.NoError(t, db.Exec("SELECT pg_notify('news', ?)", v).Error)
	}
	const digits = "98765432109876543210"
	require.NoError(t, db.Exec("SELECT pg_notify('number', ?)", digits).Error)
	comesTrue(t, func() bool {
		return counters(t, db, "news").Failed == int64(len(values)) && counters(t, db, "number").Failed == 1
	}, "all are counted")
	require.Len(t, log.with(slog.LevelError, "a listener failed"), len(values)+1)
	checkSecret(t, log)
	assert.NotContains(t, log.String(), digits)
}

func TestUndecodableRowsAreNotLogged(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	hooks.OnInsert(&vault{}, func(context.Context, *gorm.DB, hooks.TriggerPayload[vault]) error { return nil },
		hooks.Broadcast(), hooks.In(r), hooks.Name("rows"))
	db, log := taped(t, r, nil)
	require.NoError(t, db.AutoMigrate(&textPin{}))
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&textPin{Pin: secret}).Error)
	comesTrue(t, func() bool { return counters(t, db, "rows").Failed == 1 }, "it is counted")
	require.NoError(t, db.Create(&textPin{Pin: "12"}).Error)
	comesTrue(t, func() bool { return counters(t, db, "rows").Handled == 1 }, "and stops nothing")
	require.Len(t, log.with(slog.LevelError, "a listener failed"), 1)
	checkSecret(t, log)
}

// What the trigger can't tell is told of without the row.
func TestLostEventsAreNotLoggedWithTheirRows(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	hooks.OnInsert(&vault{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[vault]) error {
		in <- p.New.Secret
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("rows"), hooks.When("NEW.secret::int > 0"))
	db, log := taped(t, r, []any{&vault{}})
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Create(&vault{Secret: secret}).Error, "a condition that fails never fails the write")
	require.NoError(t, db.Create(&vault{Secret: "1"}).Error)
	require.Equal(t, "1", in.next(t))
	require.EqualValues(t, 1, counters(t, db, "rows").Lost)
	lines := log.with(slog.LevelError, "a trigger failed")
	require.Len(t, lines, 1)
	assert.Equal(t, "insert", lines[0]["op"])
	checkSecret(t, log)
}
