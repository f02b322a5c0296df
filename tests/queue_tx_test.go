package tests

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// wrapped is a driver of others' making around pgx's, as for tracing.
type wrapped struct{ driver.Connector }

type wrappedConn struct{ *stdlib.Conn }

func (w wrapped) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &wrappedConn{c.(*stdlib.Conn)}, nil
}

// The transaction that a function gets is like any other, however the application
// has opened its database, and whatever the function does with it.
func TestQueueTransaction(t *testing.T) {
	t.Parallel()
	opened := map[string]func(t *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option){
		"Plain": func(_ *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			return postgres.Open(dsn), &gorm.Config{}, nil
		},
		"PrepareStmt": func(_ *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			return postgres.Open(dsn), &gorm.Config{PrepareStmt: true}, nil
		},
		"SimpleProtocol": func(_ *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			return postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: true}), &gorm.Config{}, nil
		},
		"Exec": func(_ *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			return postgres.Open(dsn + "&default_query_exec_mode=exec"), &gorm.Config{}, nil
		},
		"OthersDriver": func(t *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			t.Helper()
			config, err := pgx.ParseConfig(dsn)
			require.NoError(t, err)
			pool := sql.OpenDB(wrapped{stdlib.GetConnector(*config)})
			return postgres.New(postgres.Config{Conn: pool}), &gorm.Config{}, []pubsub.Option{pubsub.ListenDSN(dsn)}
		},
		"OneConnection": func(t *testing.T, dsn string) (gorm.Dialector, *gorm.Config, []pubsub.Option) {
			t.Helper()
			config, err := pgx.ParseConfig(dsn)
			require.NoError(t, err)
			pool := stdlib.OpenDB(*config)
			pool.SetMaxOpenConns(1)
			return postgres.New(postgres.Config{Conn: pool}), &gorm.Config{}, []pubsub.Option{pubsub.ListenDSN(dsn)}
		},
	}
	functions := map[string]func(ctx context.Context, tx *gorm.DB) error{
		"Nothing": func(context.Context, *gorm.DB) error { return nil },
		"RowsLeftOpen": func(ctx context.Context, tx *gorm.DB) error {
			rows, err := tx.Statement.ConnPool.QueryContext(ctx, "SELECT generate_series(1, 100000)")
			if err == nil && !rows.Next() {
				err = errors.New("no rows")
			}
			return err
		},
		"RowNotRead": func(ctx context.Context, tx *gorm.DB) error {
			return tx.Statement.ConnPool.QueryRowContext(ctx, "SELECT generate_series(1, 100000)").Err()
		},
		"Prepared": func(_ context.Context, tx *gorm.DB) error {
			var n int
			return tx.Session(&gorm.Session{PrepareStmt: true}).Raw("SELECT count(*) FROM parcels").Scan(&n).Error
		},
		"PreparedByHand": func(ctx context.Context, tx *gorm.DB) error {
			stmt, err := tx.Statement.ConnPool.PrepareContext(ctx, "SELECT count(*) FROM receipts")
			if err != nil {
				return err
			}
			defer stmt.Close()
			var n int
			return stmt.QueryRowContext(ctx).Scan(&n)
		},
		"Nested": func(_ context.Context, tx *gorm.DB) error {
			inner := tx.Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&parcel{ID: -1, Label: "undone"}).Error; err != nil {
					return err
				}
				return errors.New("undo it")
			})
			if inner == nil {
				return errors.New("the nested transaction was committed")
			}
			return nil
		},
		"Connection": func(_ context.Context, tx *gorm.DB) error {
			if _, err := tx.DB(); !errors.Is(err, gorm.ErrInvalidDB) {
				return errors.New("a *sql.DB out of a transaction")
			}
			return nil
		},
	}
	for how, openWith := range opened {
		for name, f := range functions {
			for kind, opts := range map[string][]hooks.Option{"Unordered": nil, "Ordered": {hooks.Ordered()}} {
				if kind == "Ordered" && name != "Nothing" || how != "Plain" && !slices.Contains([]string{"Nothing", "RowsLeftOpen", "Prepared"}, name) {
					continue
				}
				t.Run(how+"_"+name+"_"+kind, func(t *testing.T) {
					t.Parallel()
					r := hooks.NewRegistry()
					hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
						if p.New.Label == "undone" {
							return nil
						}
						prepared := tx.Session(&gorm.Session{PrepareStmt: name == "Prepared"})
						if err := prepared.Create(&receipt{ParcelID: p.New.ID}).Error; err != nil {
							return err
						}
						if err := f(ctx, tx); err != nil {
							return err
						}
						if p.New.Label == "bad" {
							return errors.New("bad")
						}
						return nil
					}, append(opts, hooks.In(r), hooks.Name("d"), quickly(2))...)
					first, _ := taped(t, r, []any{&parcel{}, &receipt{}})
					dialector, config, options := openWith(t, dsnOf(t, first))
					config.Logger = logger.Discard
					db, err := gorm.Open(dialector, config)
					require.NoError(t, err)
					pool, err := db.DB()
					require.NoError(t, err)
					t.Cleanup(func() { _ = pool.Close() })
					log := newTape(t)
					require.NoError(t, db.Use(pubsub.New(append(options, pubsub.WithRegistry(r), pubsub.Logger(log.logger()))...)))
					create(t, first, "one", "bad", "two")
					createMany(t, first, append(labels(20, "x"), "bad")...)
					pubsubtest.Listen(t, db)
					create(t, first, "three")
					drained(t, first)
					requireReceipts(t, first, "bad", "undone")
					require.Len(t, deadLetters(t, first), 2)
					comesTrue(t, func() bool { return pool.Stats().InUse == 0 }, "no connection is kept")
					require.Zero(t, number(t, first, "SELECT count(*) FROM parcels WHERE label = 'undone'"))
				})
			}
		}
	}
}
