package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"gorm.io/gorm"
)

var (
	// ErrNoTransaction is returned by SetContext and Ignore outside of a
	// transaction, where they would be forgotten at once.
	ErrNoTransaction = errors.New("there is no transaction: call it inside of one")
	// ErrContext is returned by SetContext for a value that events can't carry.
	ErrContext = errors.New("the value can't be an event's context")
)

const (
	// contextSetting is the transaction's setting from which triggers take what
	// their events carry, ignoreSetting the one that names the channels that are
	// to be left alone.
	contextSetting = "pubsub.context"
	ignoreSetting  = "pubsub.ignore"
	// maxContext is the longest context, in bytes of JSON: each event of the
	// transaction has a copy.
	maxContext = 16 << 10
	// traceKey is the context's member that has OpenTelemetry's fields.
	traceKey = "otel"
)

// SetContext gives the events that tx's transaction causes from now on something to
// carry: who has made the change, from which request. It reaches the listeners, durable
// ones and those of broadcasts, as their payload's Context; see EventContext.
//
// v is encoded by encoding/json and must be an object, so a struct or a map. Its
// members are added to those of earlier calls, and replace those of the same name. The
// trace context and the baggage of tx's context.Context travel along when OpenTelemetry
// has a propagator (otel.SetTextMapPropagator); for them alone, v is nil.
//
// The context ends with the transaction, and what is set within a savepoint with the
// rollback to that. It takes one round trip. Postgres only.
//
// It returns ErrNoTransaction outside of a transaction, ErrContext when v isn't an
// object or the context gets longer than 16 kB, and the database's error.
func SetContext(tx *gorm.DB, v any) error {
	if err := setContext(tx, v); err != nil {
		return fmt.Errorf("SetContext: %w", err)
	}
	return nil
}

func setContext(tx *gorm.DB, v any) error {
	data := []byte("{}")
	if v != nil {
		var err error
		if data, err = json.Marshal(v); err != nil {
			return fmt.Errorf("%w: %w", ErrContext, err)
		}
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return fmt.Errorf("%w: %T is encoded as something else than a JSON object", ErrContext, v)
	}
	trace := propagation.MapCarrier{}
	if otel.GetTextMapPropagator().Inject(tx.Statement.Context, trace); len(trace) > 0 {
		fields, err := json.Marshal(trace)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrContext, err)
		}
		members[traceKey] = fields
	}
	merged, err := json.Marshal(members)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrContext, err)
	case len(merged) > maxContext:
		return fmt.Errorf("%w: %d bytes of JSON, and %d at the most", ErrContext, len(merged), maxContext)
	}
	pool, err := transaction(tx)
	if err != nil || tx.DryRun {
		return err
	}
	// Merged by Go, since Postgres would merge what it has parsed: numbers and the
	// order of members stay as they were written.
	var before string
	row := pool.QueryRowContext(tx.Statement.Context, "SELECT COALESCE(pg_catalog.current_setting($1, true), '')", contextSetting)
	if err := row.Scan(&before); err != nil {
		return err
	}
	if before != "" {
		all := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(before), &all); err != nil {
			return fmt.Errorf("%w: the transaction has one already that is no JSON object", ErrContext)
		}
		for name, member := range members {
			all[name] = member
		}
		if merged, err = json.Marshal(all); err != nil {
			return fmt.Errorf("%w: %w", ErrContext, err)
		}
		if len(merged) > maxContext {
			return fmt.Errorf("%w: %d bytes of JSON together with what was set before, and %d at the most", ErrContext, len(merged), maxContext)
		}
	}
	return setLocal(tx, pool, contextSetting, string(merged))
}

// Ignore has the triggers of the channels, or all of them when none is named, leave
// alone what tx's transaction writes from now on: nothing is stored and nothing sent.
// Further calls add to it. It ends with the transaction, and what is ignored within a
// savepoint with the rollback to that. Channel.Notify goes on as ever.
//
// It takes two round trips. It returns ErrNoTransaction outside of a transaction, and
// the database's error.
func Ignore(tx *gorm.DB, channels ...string) error {
	if err := ignore(tx, channels); err != nil {
		return fmt.Errorf("Ignore: %w", err)
	}
	return nil
}

func ignore(tx *gorm.DB, channels []string) error {
	pool, err := transaction(tx)
	if err != nil || tx.DryRun {
		return err
	}
	value := ignoreAll
	if len(channels) > 0 {
		row := pool.QueryRowContext(tx.Statement.Context, "SELECT COALESCE(pg_catalog.current_setting($1, true), '')", ignoreSetting)
		if err := row.Scan(&value); err != nil {
			return err
		}
		if value == ignoreAll {
			return nil
		}
		for _, channel := range channels {
			value += ignored(channel)
		}
	}
	return setLocal(tx, pool, ignoreSetting, value)
}

// ignoreAll is the setting's value for all channels.
const ignoreAll = "*"

// ignored is how a channel stands in the setting.
func ignored(channel string) string { return "," + url.QueryEscape(channel) + "," }

// transaction returns what tx runs its statements in, if that is a transaction.
func transaction(tx *gorm.DB) (gorm.ConnPool, error) {
	if tx.Error != nil {
		return nil, tx.Error
	}
	pool := tx.Statement.ConnPool
	if _, ok := pool.(gorm.TxCommitter); !ok {
		return nil, ErrNoTransaction
	}
	return pool, nil
}

func setLocal(tx *gorm.DB, pool gorm.ConnPool, setting, value string) error {
	_, err := pool.ExecContext(tx.Statement.Context, "SELECT pg_catalog.set_config($1, $2, true)", setting, value)
	return err
}

// EventContext is what the writer's transaction gave its events to carry, by
// SetContext: a JSON object, or empty.
type EventContext string

// Decode decodes the context into v, as encoding/json does, and leaves v alone when
// there is none.
func (c EventContext) Decode(v any) error {
	if c == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(c), v); err != nil {
		return fmt.Errorf("decode the event's context: %w", err)
	}
	return nil
}

// ContextAs decodes the context as a T, which is zero when there is none.
func ContextAs[T any](c EventContext) (v T, err error) {
	return v, c.Decode(&v)
}

type contextKey struct{}

// WithEventContext returns ctx for a function that handles an event with this
// context: ContextOf finds it, and OpenTelemetry the writer's span and baggage.
func WithEventContext(ctx context.Context, c EventContext) context.Context {
	if c == "" {
		return ctx
	}
	var fields struct {
		Trace propagation.MapCarrier `json:"otel"`
	}
	if err := c.Decode(&fields); err == nil && len(fields.Trace) > 0 {
		ctx = otel.GetTextMapPropagator().Extract(ctx, fields.Trace)
	}
	return context.WithValue(ctx, contextKey{}, c)
}

// ContextOf returns the context of the event that is being handled, for functions
// that get no payload, such as those of typed channels, and for what they call. It is
// empty in a function that gets several events at once.
func ContextOf(ctx context.Context) EventContext {
	c, _ := ctx.Value(contextKey{}).(EventContext)
	return c
}
