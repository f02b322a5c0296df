package row_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
)

// TestMain gives the tests a local zone with a daylight saving time of half an
// hour, so that a mix-up of zones can't go unseen.
func TestMain(m *testing.M) {
	loc, err := time.LoadLocation("Australia/Lord_Howe")
	if err != nil {
		fmt.Fprintln(os.Stderr, "row: the tests need the time zone database:", err)
		os.Exit(1)
	}
	time.Local = loc
	os.Exit(m.Run())
}

// newDatabase makes an empty database and returns its URL.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	ctx := tb.Context()
	server, err := pgserver.Shared(ctx)
	require.NoError(tb, err)
	url, drop, err := server.CreateDatabase(ctx)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		require.NoError(tb, drop(ctx))
	})
	return url
}

func open(tb testing.TB, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}
