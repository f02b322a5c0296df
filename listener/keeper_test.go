package listener

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/internal/plain"
)

// A transaction that holds vacuum back is told of once.
func TestLongTransactionsAreToldOf(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	db, err := gorm.Open(postgres.Open(server.URL()), &gorm.Config{})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	var log bytes.Buffer
	k := newKeeper(Config{Pool: plain.Pool(db), Schema: "pubsub", Logger: slog.New(slog.NewTextHandler(&log, nil))}, newStore("pubsub"), false)

	for name, begin := range map[string]string{
		"snapshot": "SELECT set_config('application_name', 'long snapshot', false), count(*) FROM pg_class",
		"writer":   "SELECT set_config('application_name', 'long writer', false), pg_current_xact_id()",
	} {
		tx := db.Begin()
		require.NoError(t, tx.Error)
		if name == "snapshot" {
			require.NoError(t, tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").Error)
		}
		require.NoError(t, tx.Exec(begin).Error)
		require.NoError(t, k.warn(t.Context(), time.Hour))
		require.NotContains(t, log.String(), "long "+name, "it is young")
		for range 2 {
			require.NoError(t, k.warn(t.Context(), 0))
		}
		require.Equal(t, 1, strings.Count(log.String(), "long "+name), log.String())
		require.NoError(t, tx.Rollback().Error)
	}
}
