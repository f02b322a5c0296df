package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// declaration is a declared function, bound to no database yet.
type declaration[M any] struct {
	kind
	options
	handler Handler[M]
	several BatchHandler[M]
	site    string
}

// bind resolves the declaration for a database: GORM's schema of the model
// gives the table and the columns.
func (d *declaration[M]) bind(db *gorm.DB) (listener.Binding, error) {
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(new(M)); err != nil {
		return listener.Binding{}, fmt.Errorf("GORM can't use %s as a model: %w", reflect.TypeFor[M](), err)
	}
	columns, err := resolve(stmt.Schema, d.columns)
	if err != nil {
		return listener.Binding{}, err
	}
	when, err := d.condition(stmt.Schema)
	if err != nil {
		return listener.Binding{}, err
	}
	def := triggers.Definition{
		Channel: d.channelName(stmt.Schema.Table, columns), Table: stmt.Quote(stmt.Schema.Table), Ops: d.ops,
		Columns: columns, When: when, Site: d.site, Key: stmt.Schema.PrimaryFieldDBNames,
	}
	if err := def.Validate(); err != nil {
		return listener.Binding{}, err
	}
	open := func(ctx context.Context, db *gorm.DB, log *slog.Logger) (listener.Handler, error) {
		r := &rows[M]{handler: d.handler, several: d.several, schema: stmt.Schema, table: def.Table, log: log}
		if err := r.load(ctx, db.Statement.ConnPool, 0); err != nil {
			return nil, err
		}
		if d.several != nil {
			return r.batch, nil
		}
		return r.each, nil
	}
	return listener.Binding{Channel: def.Channel, Trigger: &def, Whole: d.several != nil, Open: open}, nil
}

// channelName returns the channel that was asked for, or one that follows from
// the table, the operations and the restrictions.
func (d *declaration[M]) channelName(table string, columns []string) string {
	if d.channel != "" {
		return d.channel
	}
	name := table + "_" + d.kind.String()
	if len(columns) > 0 || d.when != "" {
		name += "_" + triggers.Digest(strings.Join(columns, "\x00")+"\x01"+d.when)
	}
	return triggers.Fit(name)
}

// condition returns the trigger's condition: the soft delete's, and what the
// declaration adds.
func (d *declaration[M]) condition(s *schema.Schema) (string, error) {
	if !d.softDelete {
		return d.when, nil
	}
	soft, err := softDelete(s)
	if err != nil || d.when == "" {
		return soft, err
	}
	return soft + " AND (\n" + d.when + "\n)", nil
}

// softDelete returns the condition that a row has just been soft-deleted.
func softDelete(s *schema.Schema) (string, error) {
	for _, f := range s.Fields {
		if f.DBName == "" {
			continue
		}
		if _, ok := reflect.New(f.IndirectFieldType).Interface().(schema.DeleteClausesInterface); !ok {
			continue
		}
		column := quoteColumn(f.DBName)
		switch f.IndirectFieldType.Kind() {
		case reflect.Struct: // gorm.DeletedAt: NULL, or the tag's zeroValue, while the row lives
			if zero, ok := f.TagSettings["ZEROVALUE"]; ok {
				return fmt.Sprintf("OLD.%[1]s <= %[2]s AND NEW.%[1]s > %[2]s", column, latest(zero)), nil
			}
			return fmt.Sprintf("OLD.%[1]s IS NULL AND NEW.%[1]s IS NOT NULL", column), nil
		case reflect.Bool:
			return fmt.Sprintf("OLD.%[1]s IS NOT TRUE AND NEW.%[1]s", column), nil
		default: // a number that is 0 while the row lives
			return fmt.Sprintf("COALESCE(OLD.%[1]s, 0) = 0 AND NEW.%[1]s <> 0", column), nil
		}
	}
	return "", fmt.Errorf("model %s has no soft-delete column: add a field of type gorm.DeletedAt, or listen with OnDelete", s.Name)
}

// latest returns an SQL expression for the moment that a time without a zone
// has passed everywhere: the application's session decides which it means.
func latest(text string) string {
	return "(timestamptz '" + strings.ReplaceAll(text, "'", "''") + "' + interval '15 hours')"
}

func quoteColumn(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// resolve turns columns that are named as in the database or as fields into
// the database's names.
func resolve(s *schema.Schema, names []string) ([]string, error) {
	columns := make([]string, 0, len(names))
	var problems []error
	for _, name := range names {
		f := s.LookUpField(name)
		if f == nil || f.DBName == "" {
			problems = append(problems, fmt.Errorf("model %s has no column %q; it has: %s", s.Name, name, strings.Join(s.DBNames, ", ")))
			continue
		}
		columns = append(columns, f.DBName)
	}
	return columns, errors.Join(problems...)
}
