package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/gorm-pubsub/pubsub/internal/row"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// rows turns a trigger's messages into payloads and calls the function.
type rows[M any] struct {
	handler Handler[M]
	several BatchHandler[M]
	schema  *schema.Schema
	table   string // quoted
	log     *slog.Logger

	plan    atomic.Pointer[plan]
	loading sync.Mutex
	events  sync.Pool // of *event[M]
}

// event is a payload and the call of the function with it.
type event[M any] struct {
	payload TriggerPayload[M]
	call    func(context.Context, *gorm.DB) error
}

func (r *rows[M]) event() *event[M] {
	if e, ok := r.events.Get().(*event[M]); ok {
		return e
	}
	e := &event[M]{}
	e.call = func(ctx context.Context, tx *gorm.DB) error { return r.handler(ctx, tx, e.payload) }
	return e
}

// plan is a compiled decoder, and when the table's columns were read for it.
type plan struct {
	*row.Plan
	loaded     time.Time
	generation int64
}

// A table may change while we listen. Its columns are read again after a
// migration, when they are this old, and sooner when an event doesn't fit the
// plan.
const (
	planAge   = time.Minute
	planRetry = time.Second
)

// load reads the table's columns and compiles the decoder.
func (r *rows[M]) load(ctx context.Context, pool gorm.ConnPool, generation int64) error {
	columns, err := row.Columns(ctx, pool, r.table)
	if err != nil {
		return fmt.Errorf("read the columns of table %s: %w", r.table, err)
	}
	options, err := row.Probe(ctx, pool)
	if err != nil {
		return err
	}
	compiled, err := row.Compile(r.schema, columns, options)
	if err != nil {
		return fmt.Errorf("table %s and model %s: %w", r.table, r.schema.Name, err)
	}
	if r.plan.Load() == nil {
		for _, d := range compiled.Differs() {
			// The others are rare in effect though common in a schema, and the
			// documentation names them.
			if d.Cause != row.JSONNull && d.Cause != row.ArrayBounds {
				r.log.Warn("a column's value in events may differ from a SELECT's", "column", d.Column, "cause", d.Cause.String())
			}
		}
	}
	r.plan.Store(&plan{Plan: compiled, loaded: time.Now(), generation: generation})
	return nil
}

// current returns the plan, after reading the table again when it is older
// than age or of an older generation.
func (r *rows[M]) current(ctx context.Context, m *listener.Message, age time.Duration) *plan {
	p, generation := r.plan.Load(), m.Generation
	if p.generation >= generation && m.Arrived.Sub(p.loaded) < age {
		return p
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	if now := r.plan.Load(); now != p {
		return now
	}
	if err := r.load(ctx, m.Pool, generation); err != nil {
		r.log.Warn("the table's columns could not be read again", "error", err)
		r.plan.Store(&plan{Plan: p.Plan, loaded: time.Now(), generation: generation}) // not at every event
	}
	return r.plan.Load()
}

var errShape = errors.New("the message is not a trigger's")

// each is the subscription's Handler: a call of the function for each event.
func (r *rows[M]) each(ctx context.Context, messages []listener.Message, deliver listener.Deliver) {
	// One payload and one function serve all events, and those of later messages:
	// deliver returns when the call is done.
	e := r.event()
	defer func() {
		e.payload = TriggerPayload[M]{}
		r.events.Put(e)
	}()
	for i := range messages {
		goOn := true
		r.split(ctx, &messages[i], &e.payload, func(err error) bool {
			if err != nil {
				goOn = deliver(i, nil, err)
			} else {
				goOn = deliver(i, e.call, nil)
			}
			return goOn
		})
		if !goOn {
			return
		}
	}
}

// batch is the subscription's Handler when the function takes several events.
func (r *rows[M]) batch(ctx context.Context, messages []listener.Message, deliver listener.Deliver) {
	payloads := make([]TriggerPayload[M], 0, len(messages))
	for i := range messages {
		var p TriggerPayload[M]
		r.split(ctx, &messages[i], &p, func(err error) bool {
			if err != nil {
				return deliver(i, nil, err)
			}
			payloads = append(payloads, p)
			return true
		})
	}
	if len(payloads) > 0 {
		deliver(listener.All, func(ctx context.Context, tx *gorm.DB) error { return r.several(ctx, tx, payloads) }, nil)
	}
}

// split decodes the message's events one by one into payload, and calls next for
// each, with an error for one that can't be decoded, until that returns false.
func (r *rows[M]) split(ctx context.Context, m *listener.Message, payload *TriggerPayload[M], next func(error) bool) {
	single := m.Attempt > 0 // from the queue: one event, and not an array of them
	if m.Op == 0 || !single && (len(m.Data) < 2 || m.Data[0] != '[') {
		next(errShape)
		return
	}
	p := r.current(ctx, m, planAge)
	pos := 1
	if single {
		pos = 0
	}
	for ; ; pos++ {
		*payload = TriggerPayload[M]{Op: m.Op, EventID: m.ID, Attempt: m.Attempt, CreatedAt: m.At, Context: m.Context, schema: r.schema, plan: p.Plan}
		end, err := r.decode(ctx, p, m, pos, payload)
		if err != nil {
			// The table may have changed since the plan was made.
			if fresh := r.current(ctx, m, planRetry); fresh != p {
				p = fresh
				payload.plan = p.Plan
				end, err = r.decode(ctx, p, m, pos, payload)
			}
		}
		if err != nil {
			if !next(err) {
				return
			}
			if end, err = row.Skip(m.Data, pos); err != nil {
				return // the rest can't be told apart
			}
		} else {
			payload.source = m.Data[pos:end]
			if !next(nil) {
				return
			}
		}
		if pos = end; pos >= len(m.Data) || m.Data[pos] != ',' {
			return
		}
	}
}

// decode reads the event at data[pos:] and returns where it ends.
func (r *rows[M]) decode(ctx context.Context, p *plan, m *listener.Message, pos int, payload *TriggerPayload[M]) (next int, err error) {
	switch m.Op {
	case triggers.Insert:
		payload.New = new(M)
		return p.DecodeAt(ctx, m.Data, pos, reflect.ValueOf(payload.New).Elem())
	case triggers.Delete:
		payload.Old = new(M)
		return p.DecodeAt(ctx, m.Data, pos, reflect.ValueOf(payload.Old).Elem())
	case triggers.Update:
		payload.Old, payload.New = new(M), new(M)
		if pos, err = expect(m.Data, pos, '['); err != nil {
			return pos, err
		}
		if pos, err = p.DecodeAt(ctx, m.Data, pos, reflect.ValueOf(payload.Old).Elem()); err != nil {
			return pos, err
		}
		if pos, err = expect(m.Data, pos, ','); err != nil {
			return pos, err
		}
		if pos < len(m.Data) && m.Data[pos] == ' ' { // json_build_array's
			pos++
		}
		if pos, err = p.DecodeAt(ctx, m.Data, pos, reflect.ValueOf(payload.New).Elem()); err != nil {
			return pos, err
		}
		return expect(m.Data, pos, ']')
	default:
		return row.Skip(m.Data, pos)
	}
}

func expect(data string, pos int, c byte) (int, error) {
	if pos >= len(data) || data[pos] != c {
		return pos, errShape
	}
	return pos + 1, nil
}
