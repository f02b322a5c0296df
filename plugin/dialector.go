package pubsub

import (
	"slices"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// Dialector is GORM's Postgres dialector with a migrator that installs
// triggers after AutoMigrate and CreateTable. The concrete type is embedded so
// that all it can do (savepoints, error translation) is still there.
type Dialector struct {
	*postgres.Dialector
	plugin *Plugin
}

// Unwrap returns GORM's own dialector, for code that asks for its type.
func (d *Dialector) Unwrap() gorm.Dialector { return d.Dialector }

// Migrator returns GORM's migrator with ours around it.
func (d *Dialector) Migrator(db *gorm.DB) gorm.Migrator {
	inner := d.Dialector.Migrator(db)
	m, ok := inner.(postgres.Migrator)
	if !ok {
		return inner
	}
	return Migrator{Migrator: m, plugin: d.plugin}
}

// Migrator is GORM's Postgres migrator, which installs the triggers of the
// tables that it makes.
type Migrator struct {
	postgres.Migrator
	plugin *Plugin
}

// AutoMigrate is GORM's, and then installs the triggers of the models' tables,
// also of those that GORM adds for their associations. A second one issues no
// statement that changes anything.
func (m Migrator) AutoMigrate(values ...any) error {
	inner := m.Migrator
	inner.DB = inner.DB.Set(autoMigrating, true).Session(&gorm.Session{})
	if err := inner.AutoMigrate(values...); err != nil {
		return err
	}
	return m.install(m.ReorderModels(values, true))
}

// autoMigrating marks the sessions in which AutoMigrate calls CreateTable: the
// triggers are installed at its end, when all tables are there.
const autoMigrating = "pubsub:auto_migrating"

// CreateTable is GORM's, and then installs the triggers of the tables.
func (m Migrator) CreateTable(values ...any) error {
	if err := m.Migrator.CreateTable(values...); err != nil {
		return err
	}
	if _, inside := m.DB.Get(autoMigrating); inside {
		return nil
	}
	return m.install(m.ReorderModels(values, false))
}

func (m Migrator) install(models []any) error {
	var tables []string
	for _, model := range models {
		if err := m.RunWithValue(model, func(stmt *gorm.Statement) error {
			table := stmt.Quote(stmt.Table)
			if stmt.TableExpr != nil { // a name with a schema
				table = stmt.TableExpr.SQL
			}
			if !slices.Contains(tables, table) {
				tables = append(tables, table)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return m.plugin.installFor(m.DB, tables)
}
