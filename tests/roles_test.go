package tests

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

type roleNote struct {
	ID   int64
	Text string
}

// TestRoles grants each role what docs/operations.md says, and nothing more.
func TestRoles(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	owner, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop(ctx)) })

	r := hooks.NewRegistry()
	notes := make(chan string, 10)
	hooks.OnInsert(&roleNote{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[roleNote]) error {
		notes <- p.New.Text
		return nil
	}, hooks.Broadcast(), hooks.In(r), hooks.Name("notes"))
	typed := listener.NewChannel[string]("role_words", listener.Broadcast(), listener.In(r))
	words := make(chan string, 10)
	typed.Listen(func(_ context.Context, _ *gorm.DB, v string) error { words <- v; return nil }, listener.Name("words"))

	open := func(address string) *gorm.DB {
		db, err := gorm.Open(postgres.Open(address), &gorm.Config{Logger: logger.Discard})
		require.NoError(t, err)
		t.Cleanup(func() {
			pool, err := db.DB()
			require.NoError(t, err)
			require.NoError(t, pool.Close())
		})
		require.NoError(t, db.Use(pubsub.New(pubsub.WithRegistry(r))))
		return db
	}
	db := open(owner)
	require.NoError(t, db.AutoMigrate(&roleNote{}))

	as := func(kind string, grants ...string) *gorm.DB {
		role, password := kind+"_"+strings.ToLower(rand.Text()), rand.Text()
		require.NoError(t, db.Exec(`CREATE ROLE `+role+` LOGIN PASSWORD '`+password+`'`).Error)
		t.Cleanup(func() {
			require.NoError(t, db.Exec(`DROP OWNED BY `+role).Error)
			require.NoError(t, db.Exec(`DROP ROLE `+role).Error)
		})
		for _, grant := range grants {
			require.NoError(t, db.Exec(`GRANT `+grant+` TO `+role).Error)
		}
		address, err := url.Parse(owner)
		require.NoError(t, err)
		address.User = url.UserPassword(role, password)
		return open(address.String())
	}
	reader := as("listens", `USAGE ON SCHEMA pubsub`, `SELECT, DELETE ON pubsub.payload`)
	notifier := as("notifies", `USAGE ON SCHEMA pubsub`)
	writer := as("writes", `INSERT ON role_notes`, `USAGE ON SEQUENCE role_notes_id_seq`)

	pubsubtest.Listen(t, reader)
	large := strings.Repeat("x", 10_000)
	for _, text := range []string{"small", large} {
		require.NoError(t, writer.Exec(`INSERT INTO role_notes (text) VALUES (?)`, text).Error)
		require.Equal(t, text, <-notes)
		require.NoError(t, typed.Notify(t.Context(), notifier, text))
		require.Equal(t, text, <-words)
	}
	require.Error(t, typed.Notify(t.Context(), writer, "may not"))
}

// TestSchemasKeepApplicationsApart has two applications with declarations of
// the same table.
func TestSchemasKeepApplicationsApart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	address, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop(ctx)) })
	heard := make(chan string, 100)
	var first *gorm.DB
	for _, schema := range []string{"app_a", "app_b"} {
		r := hooks.NewRegistry()
		hooks.OnInsert(&roleNote{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[roleNote]) error {
			heard <- schema + " " + p.New.Text
			return nil
		}, hooks.Broadcast(), hooks.In(r), hooks.Name("notes"))
		db, err := gorm.Open(postgres.Open(address), &gorm.Config{Logger: logger.Discard})
		require.NoError(t, err)
		t.Cleanup(func() {
			pool, err := db.DB()
			require.NoError(t, err)
			require.NoError(t, pool.Close())
		})
		require.NoError(t, db.Use(pubsub.New(pubsub.WithRegistry(r), pubsub.Schema(schema))))
		require.NoError(t, db.AutoMigrate(&roleNote{}))
		pubsubtest.Listen(t, db)
		if first == nil {
			first = db
		}
	}
	sessions, err := pubsubtest.Of(t, first).Listeners(t.Context(), "role_notes_insert")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	var want []string
	for _, text := range []string{"one", "two", "three"} {
		require.NoError(t, first.Create(&roleNote{Text: text}).Error)
		want = append(want, "app_a "+text, "app_b "+text)
	}
	var got []string
	for range want {
		got = append(got, <-heard)
	}
	require.ElementsMatch(t, want, got)
	require.NoError(t, first.Create(&roleNote{Text: "last"}).Error)
	require.ElementsMatch(t, []string{"app_a last", "app_b last"}, []string{<-heard, <-heard}, "each event came once to each")
}
