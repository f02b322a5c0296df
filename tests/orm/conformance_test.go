package orm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/plugin/dbresolver"

	"github.com/gorm-pubsub/pubsub/hooks"
)

func TestTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			b.in(tx, "one")
			if err := tx.Create(&writer{Name: "x"}).Error; err != nil {
				return err
			}
			b.in(tx.Session(&gorm.Session{NewDB: true}), "two")
			b.got()
			return nil
		}))
		b.got("one", "two")
		require.ErrorIs(b, b.db.Transaction(func(tx *gorm.DB) error { b.in(tx, "gone"); return errNo }), errNo)
		b.got("not gone")
		require.Panics(b, func() {
			_ = b.db.Transaction(func(tx *gorm.DB) error { b.in(tx, "panicked"); panic("no") })
		})
		b.got("not panicked")
		require.Equal(b, []string{"x"}, b.names())
	})
}

func TestNested(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			b.in(tx, "outer")
			require.NoError(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "kept"); return nil }))
			require.ErrorIs(b, tx.Transaction(func(tx *gorm.DB) error {
				b.in(tx, "undone")
				return tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "deeper"); return errNo })
			}), errNo)
			require.NoError(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "sibling"); return nil }))
			require.ErrorIs(b, tx.Transaction(func(tx *gorm.DB) error {
				require.NoError(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "inner of undone"); return nil }))
				return errNo
			}), errNo)
			b.in(tx, "last")
			return nil
		}))
		b.got("not deeper", "not undone", "not inner of undone", "outer", "kept", "sibling", "last")
		require.ErrorIs(b, b.db.Transaction(func(tx *gorm.DB) error {
			require.NoError(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "released"); return nil }))
			return errNo
		}), errNo)
		b.got("not released")
	})
}

func TestDisableNestedTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		db := b.db.Session(&gorm.Session{DisableNestedTransaction: true})
		require.NoError(b, db.Transaction(func(tx *gorm.DB) error {
			require.ErrorIs(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "inner"); return errNo }), errNo)
			return nil
		}))
		b.got("inner")
	})
}

func TestManual(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		tx := b.db.Begin()
		b.in(tx, "one")
		b.got()
		require.NoError(b, tx.Commit().Error)
		b.got("one")
		require.NoError(b, hooks.AfterCommit(tx, b.note("late")))
		b.got("late")
		require.Error(b, tx.Commit().Error)
		require.NoError(b, hooks.AfterRollback(tx, b.note("never")))
		b.got()

		tx = b.db.Begin()
		b.in(tx, "two")
		require.NoError(b, tx.Rollback().Error)
		b.got("not two")
		require.ErrorIs(b, hooks.AfterCommit(tx, b.note("late")), hooks.ErrRolledBack)
		require.NoError(b, hooks.AfterRollback(tx, b.note("late, too")))
		b.got("late, too")

		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		failed := b.db.WithContext(ctx).Begin()
		require.Error(b, failed.Error)
		require.ErrorIs(b, hooks.AfterCommit(failed, b.note("never begun")), context.Canceled)
		require.ErrorIs(b, hooks.AfterRollback(failed, b.note("never begun")), context.Canceled)
		failed.Error = nil
		if !b.db.PrepareStmt { // whose failed transaction can't be told from none
			require.ErrorIs(b, hooks.AfterCommit(failed, b.note("never begun")), gorm.ErrInvalidTransaction)
		}
		require.NotPanics(b, func() { failed.Rollback(); failed.Commit() })
		b.got()
	})
}

func TestSavePoints(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		tx := b.db.Begin()
		b.in(tx, "before")
		require.NoError(b, tx.SavePoint("sp").Error)
		b.in(tx, "within")
		require.NoError(b, tx.RollbackTo("sp").Error)
		b.in(tx, "again")
		require.NoError(b, tx.RollbackTo("sp").Error)
		b.in(tx, "after")
		require.NoError(b, tx.Commit().Error)
		b.got("not within", "not again", "before", "after")
	})
}

func TestRawSavePoints(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		tx := b.db.Begin()
		exec := func(query string) {
			b.Helper()
			require.NoError(b, tx.Exec(query).Error, query)
		}
		b.in(tx, "first")
		exec("savepoint A")
		b.in(tx, "in a")
		exec(`/* why */ SAVEPOINT "b c" -- a name`)
		b.in(tx, "in b")
		exec(`ROLLBACK TO SAVEPOINT "b c"`)
		b.in(tx, "in b, again")
		exec(`RELEASE SAVEPOINT "b c"`)
		exec("ROLLBACK TO a")
		exec("SAVEPOINT a") // shadows the other
		b.in(tx, "in the second a")
		exec("RELEASE a")
		b.in(tx, "last")
		exec("SAVEPOINT z")
		exec("rollback transaction to savepoint z")
		require.NoError(b, tx.Commit().Error)
		b.got("not in b", "not in a", "not in b, again", "first", "in the second a", "last")
	})
}

// A savepoint that can't be rolled back to, since its context has ended, leaves what
// was done within it.
func TestCancelledRollbackTo(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			ctx, cancel := context.WithCancel(b.Context())
			require.ErrorIs(b, tx.WithContext(ctx).Transaction(func(inner *gorm.DB) error {
				require.NoError(b, inner.Create(&writer{Name: "inner"}).Error)
				b.in(inner, "inner")
				cancel()
				return errNo
			}), errNo)
			return nil
		}))
		require.Equal(b, []string{"inner"}, b.names())
		b.got("inner")
	})
}

func TestImplicit(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, b.recording().Create(&writer{Name: "a"}).Error)
		b.got("writer a")
		rows := numbered("m", 3)
		require.NoError(b, b.recording().Create(&rows).Error)
		b.got(repeated("m", 3)...)
		require.NoError(b, b.recording().Model(&rows[0]).Update("name", "updated").Error)
		require.Len(b, b.take(), 1)
		rows[0].Name = "saved"
		require.NoError(b, b.recording().Save(&rows[0]).Error)
		b.got("writer saved")
		err := b.recording().Create(&writer{Name: "refused"}).Error
		require.Error(b, err)
		if b.mode.skipsTransaction {
			b.got("writer refused")
		} else {
			b.got()
			require.NotContains(b, b.names(), "refused")
		}
	})
}

// A hook sees what was committed, on another connection.
func TestAfterTheCommit(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		var seen []string
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			require.NoError(b, hooks.AfterCommit(tx, func(context.Context) { seen = b.names() }))
			return tx.Create(&writer{Name: "x"}).Error
		}))
		require.Equal(b, []string{"x"}, seen)
	})
}

func TestCreateInBatches(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		rows := numbered("n", 5)
		require.NoError(b, b.recording().CreateInBatches(&rows, 2).Error)
		b.got(repeated("n", 5)...)
		again := append(numbered("k", 4), writer{Name: "refused"})
		require.Error(b, b.recording().CreateInBatches(&again, 2).Error)
		if !b.mode.skipsTransaction {
			for _, call := range b.take() {
				require.Contains(b, call, "not ")
			}
			require.Len(b, b.names(), 5)
		}
	})
}

func TestAssociationsAndUpserts(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		w := writer{Name: "w", Books: []book{{Title: "one"}, {Title: "two"}}}
		require.NoError(b, b.recording().Create(&w).Error)
		require.ElementsMatch(b, []string{"writer w", "book one", "book two"}, b.take())
		require.NoError(b, b.recording().Model(&w).Association("Books").Append(&book{Title: "three"}))
		require.Contains(b, b.take(), "book three")
		upsert := b.recording().Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})})
		require.NoError(b, upsert.Create(&writer{Name: "w"}).Error)
		b.got("writer w")
		require.NoError(b, b.recording().Where(writer{Name: "first or create"}).FirstOrCreate(&writer{}).Error)
		b.got("writer first or create")
	})
}

func TestGenerics(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		ctx := context.WithValue(b.Context(), recorderKey{}, &b.recorder)
		require.NoError(b, gorm.G[writer](b.db).Create(ctx, &writer{Name: "g"}))
		b.got("writer g")
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			err := gorm.G[writer](tx).Create(ctx, &writer{Name: "in"})
			b.got()
			return err
		}))
		b.got("writer in")
	})
}

func TestPreparedSessions(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		db := b.db.Session(&gorm.Session{PrepareStmt: true})
		for range 3 {
			require.NoError(b, db.Transaction(func(tx *gorm.DB) error {
				b.in(tx, "outer")
				require.ErrorIs(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "inner"); return errNo }), errNo)
				return tx.Exec("SELECT 1").Error
			}))
			b.got("not inner", "outer")
			require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
				prepared := tx.Session(&gorm.Session{PrepareStmt: true})
				b.in(prepared, "in a transaction")
				require.NoError(b, prepared.Exec("SAVEPOINT sp").Error)
				b.in(prepared, "within")
				return prepared.Exec("ROLLBACK TO sp").Error
			}))
			b.got("not within", "in a transaction")
		}
	})
}

func TestOutside(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, hooks.AfterCommit(b.db, b.note("now")))
		b.got("now")
		require.NoError(b, hooks.AfterRollback(b.db, b.note("never")))
		b.got()
		require.Error(b, hooks.AfterCommit(b.db, nil))
		require.NoError(b, hooks.AfterCommit(b.db.Session(&gorm.Session{DryRun: true}), b.note("dry")))
		b.got()
		require.NoError(b, b.db.Connection(func(tx *gorm.DB) error {
			require.NoError(b, hooks.AfterCommit(tx, b.note("on a connection")))
			b.got("on a connection")
			recording := tx.WithContext(context.WithValue(b.Context(), recorderKey{}, &b.recorder))
			require.NoError(b, recording.Create(&writer{Name: "c"}).Error)
			b.got("writer c")
			return nil
		}))
	})
}

type valueKey struct{}

func TestContexts(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		ctx, cancel := context.WithCancel(context.WithValue(b.Context(), valueKey{}, "value"))
		tx := b.db.WithContext(ctx).Begin()
		require.NoError(b, hooks.AfterCommit(tx, func(ctx context.Context) {
			cancel()
			require.NoError(b, ctx.Err())
			_, ok := ctx.Deadline()
			require.False(b, ok)
			b.add(ctx.Value(valueKey{}).(string)) //nolint:forcetypeassert // it is one
			require.NoError(b, b.db.WithContext(ctx).Create(&writer{Name: "by a hook"}).Error)
		}))
		require.NoError(b, tx.Commit().Error)
		b.got("value")
		require.Equal(b, []string{"by a hook"}, b.names())

		ctx, cancel = context.WithCancel(b.Context())
		tx = b.db.WithContext(ctx).Begin()
		b.in(tx, "cancelled")
		cancel()
		require.Error(b, tx.Commit().Error)
		b.got("not cancelled")
	})
}

func TestPanics(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			require.NoError(b, hooks.AfterCommit(tx, func(context.Context) { panic("in a hook") }))
			b.in(tx, "next")
			return nil
		}))
		b.got("next")
		require.NotPanics(b, func() {
			require.NoError(b, hooks.AfterCommit(b.db, func(context.Context) { panic("in a hook") }))
		})
	})
}

// Hooks register hooks, and write, while the pool has no more than one connection.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		pool, err := b.db.DB()
		require.NoError(b, err)
		pool.SetMaxOpenConns(1)
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			return hooks.AfterCommit(tx, func(context.Context) {
				require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
					b.in(tx, "inner")
					return tx.Create(&writer{Name: "by a hook"}).Error
				}))
				require.NoError(b, hooks.AfterCommit(tx, b.note("of the same transaction")))
				b.add("outer")
			})
		}))
		b.got("inner", "of the same transaction", "outer")
		require.Equal(b, []string{"by a hook"}, b.names())
		require.Zero(b, pool.Stats().InUse)
	})
}

// A transaction that was begun beside the plugin is refused, and can be bound.
func TestForeign(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		pool, err := b.db.DB()
		require.NoError(b, err)
		for _, commit := range []bool{true, false} {
			sqlTx, err := pool.BeginTx(b.Context(), nil)
			require.NoError(b, err)
			var dialector gorm.Dialector = sqlite.Dialector{Conn: sqlTx}
			if b.postgres {
				dialector = postgres.New(postgres.Config{Conn: sqlTx})
			}
			session, err := gorm.Open(dialector, &gorm.Config{})
			require.NoError(b, err)
			require.ErrorIs(b, hooks.AfterCommit(session, b.note("no")), hooks.ErrUnhookedTx)
			require.ErrorIs(b, hooks.AfterRollback(session, b.note("no")), hooks.ErrUnhookedTx)
			tx, finish, err := hooks.BindTx(session)
			require.NoError(b, err)
			b.in(tx, "bound")
			require.ErrorIs(b, tx.Transaction(func(tx *gorm.DB) error { b.in(tx, "nested"); return errNo }), errNo)
			require.NoError(b, tx.Create(&writer{Name: fmt.Sprint("foreign ", commit)}).Error)
			if commit {
				finish(sqlTx.Commit() == nil)
				b.got("not nested", "bound")
			} else {
				require.NoError(b, tx.Rollback().Error)
				b.got("not nested", "not bound")
			}
		}
		_, _, err = hooks.BindTx(b.db)
		require.ErrorIs(b, err, gorm.ErrInvalidTransaction)
		require.NoError(b, b.db.Connection(func(conn *gorm.DB) error {
			tx := conn.Begin()
			require.NoError(b, tx.Error)
			if err := hooks.AfterCommit(tx, b.note("seen")); err != nil {
				require.ErrorIs(b, err, hooks.ErrUnhookedTx)
				bound, _, err := hooks.BindTx(tx)
				require.NoError(b, err)
				require.NoError(b, hooks.AfterCommit(bound, b.note("seen")))
				tx = bound
			}
			return tx.Commit().Error
		}))
		b.got("seen")
	})
}

// What GORM and its users see of the pool is as without the plugin.
func TestAsWithout(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		pool, err := b.db.DB()
		require.NoError(b, err)
		pool.SetMaxOpenConns(7)
		require.Equal(b, 7, pool.Stats().MaxOpenConnections)
		require.NoError(b, pool.PingContext(b.Context()))
		require.NoError(b, b.db.AutoMigrate(&writer{}, &book{}))
		require.True(b, b.db.Migrator().HasTable(&writer{}))
		require.NoError(b, b.db.Create(&writer{Name: "same"}).Error)
		require.ErrorIs(b, b.db.Create(&writer{Name: "same"}).Error, gorm.ErrDuplicatedKey)
		require.NoError(b, b.db.Transaction(func(tx *gorm.DB) error {
			sqlTx, ok := hooks.SQLTx(tx)
			require.True(b, ok)
			same, err := tx.DB()
			require.NoError(b, err)
			require.Same(b, pool, same)
			var n int
			require.NoError(b, sqlTx.QueryRowContext(b.Context(), "SELECT count(*) FROM writers").Scan(&n))
			require.Equal(b, 1, n)
			rows, err := tx.Model(&writer{}).Rows()
			require.NoError(b, err)
			defer rows.Close()
			require.True(b, rows.Next())
			return nil
		}))
		_, ok := hooks.SQLTx(b.db)
		require.False(b, ok)
		var found writer
		require.ErrorIs(b, b.db.First(&found, "name = ?", "nobody").Error, gorm.ErrRecordNotFound)
	})
}

func TestFailedCommit(t *testing.T) {
	t.Parallel()
	onPostgres(t, func(b *bench) {
		require.NoError(b, b.db.Exec("ALTER TABLE books ADD CONSTRAINT later FOREIGN KEY (writer_id) REFERENCES writers (id) DEFERRABLE INITIALLY DEFERRED").Error)
		require.Error(b, b.db.Transaction(func(tx *gorm.DB) error {
			b.in(tx, "deferred")
			require.NoError(b, tx.Exec("ALTER TABLE books DROP CONSTRAINT IF EXISTS fk_writers_books").Error)
			require.NoError(b, tx.Exec("INSERT INTO books (writer_id, title) VALUES (4711, 'x')").Error)
			return nil
		}))
		b.got("not deferred")

		tx := b.db.Begin() // aborted, and committed all the same
		b.in(tx, "aborted")
		require.Error(b, tx.Exec("SELECT 1/0").Error)
		require.Error(b, tx.Session(&gorm.Session{NewDB: true}).Commit().Error)
		b.got("not aborted")

		tx = b.db.Begin()
		b.in(tx, "killed")
		var pid int
		require.NoError(b, tx.Raw("SELECT pg_backend_pid()").Scan(&pid).Error)
		require.NoError(b, b.db.Session(&gorm.Session{NewDB: true}).Exec("SELECT pg_terminate_backend(?)", pid).Error)
		require.Eventually(b, func() bool { return tx.Session(&gorm.Session{NewDB: true}).Exec("SELECT 1").Error != nil }, 10*time.Second, 10*time.Millisecond)
		require.Error(b, tx.Session(&gorm.Session{NewDB: true}).Commit().Error)
		b.got("not killed")

		tx = b.db.Begin() // ended by hand
		b.in(tx, "by hand")
		require.NoError(b, tx.Exec("ROLLBACK").Error)
		require.ErrorIs(b, hooks.AfterCommit(tx, b.note("late")), hooks.ErrRolledBack)
		_ = tx.Commit()
		b.got("not by hand")
	})
}

// A transaction that asks the resolver for a pool has hooks when the resolver came
// after the plugin, and says that it has none when it came before.
func TestResolverClauses(t *testing.T) {
	t.Parallel()
	each(t, func(b *bench) {
		for _, operation := range []dbresolver.Operation{dbresolver.Write, dbresolver.Read} {
			session := b.db
			if b.mode.resolver != 0 {
				session = b.db.Clauses(operation)
			}
			tx := session.Begin()
			err := hooks.AfterCommit(tx, b.note("hook"))
			if b.mode.resolver < 0 {
				require.ErrorIs(b, err, hooks.ErrUnhookedTx)
				tx, _, err = hooks.BindTx(tx)
				require.NoError(b, err)
				err = hooks.AfterCommit(tx, b.note("hook"))
			}
			require.NoError(b, err)
			require.NoError(b, tx.Exec("SELECT 1").Error)
			require.NoError(b, tx.Commit().Error)
			b.got("hook")
		}
	})
}
