package triggers_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	flag.Parse()
	migrateAsProcess()
	goleak.VerifyTestMain(m)
}

// openDB returns a new database, after running the statements in it.
func openDB(t *testing.T, statements ...string) *gorm.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := pgserver.Shared(ctx)
	require.NoError(t, err)
	url, drop, err := server.CreateDatabase(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, drop(ctx))
	})
	return connectTo(t, url, statements...)
}

func connectTo(t testing.TB, url string, statements ...string) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, s := range statements {
		require.NoError(t, db.Exec(s).Error, s)
	}
	return db
}

func scalar[T any](t *testing.T, db *gorm.DB, query string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, db.Raw(query, args...).Row().Scan(&v), query)
	return v
}
