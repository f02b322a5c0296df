package plain_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/internal/plain"
)

func TestPool(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	for name, config := range map[string]*gorm.Config{"Plain": {}, "PrepareStmt": {PrepareStmt: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := gorm.Open(postgres.Open(server.URL()), config)
			require.NoError(t, err)
			pool, err := db.DB()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, pool.Close()) })
			require.Same(t, pool, plain.Pool(db))
			require.Same(t, pool, plain.Pool(db.Session(&gorm.Session{PrepareStmt: true})))
			require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
				require.IsType(t, &sql.Tx{}, plain.Pool(tx))
				require.Same(t, plain.Pool(tx), plain.Pool(tx.Session(&gorm.Session{PrepareStmt: true})))
				return nil
			}))
		})
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	server, err := pgserver.Shared(t.Context())
	require.NoError(t, err)
	db, err := gorm.Open(postgres.Open(server.URL()), &gorm.Config{})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, conforming := range []string{"on", "off"} {
		for _, text := range []string{"", "plain", "it's", `back\slash`, `\'; --`, "ä\n$1"} {
			require.NoError(t, db.Connection(func(tx *gorm.DB) error {
				require.NoError(t, tx.Exec("SET standard_conforming_strings = "+conforming).Error)
				var got string
				require.NoError(t, plain.Pool(tx).QueryRowContext(t.Context(), "SELECT "+plain.Literal(text)).Scan(&got))
				require.Equal(t, text, got, conforming)
				return nil
			}))
		}
	}
}
