package hooks

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/site"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Handler is a function on a model. It is called at least once for each event,
// by one process of all that listen. tx is the transaction that removes the event
// from the queue: what the function writes through it takes effect exactly once,
// together with the event's end. ctx ends when the process stops, after a grace
// period, and with Timeout.
//
// An error or a panic undoes what was written through tx, and the event is tried
// again (see Retry), and at last put among the dead letters. Do not begin, commit
// or roll back tx itself; savepoints and tx.Transaction are fine. Several events
// may be handled in one transaction.
//
// With Leased and with Broadcast tx is an ordinary session on the plugin's
// database, bound to ctx, and no transaction is open. A broadcast is not tried
// again.
type Handler[M any] func(ctx context.Context, tx *gorm.DB, p TriggerPayload[M]) error

// BatchHandler is a Handler that takes several events at once, for functions that
// write many rows with one statement. An error fails all of them: they are then
// handled again one by one, each in a call of its own, so that only those fail
// that must. See Batch for how many it gets.
type BatchHandler[M any] func(ctx context.Context, tx *gorm.DB, ps []TriggerPayload[M]) error

// NewRegistry returns an empty registry, for tests and for programs with
// several databases. Give it to declarations with In and to the plugin with
// pubsub.WithRegistry.
func NewRegistry() *listener.Registry { return &listener.Registry{} }

// OnInsert declares that h runs after rows of the model's table are inserted,
// also by an INSERT … ON CONFLICT that inserts, by COPY and by MERGE.
func OnInsert[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Insert}, h, opts)
}

// OnUpdate declares that h runs after rows are updated, also by an INSERT …
// ON CONFLICT DO UPDATE. An update that changes nothing counts, unless Columns
// says otherwise. In a partitioned table a row that moves to another partition
// is deleted and inserted.
func OnUpdate[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Update}, h, opts)
}

// OnDelete declares that h runs after rows are deleted, also by a foreign key's
// cascade. GORM's soft delete is an update: see OnSoftDelete.
func OnDelete[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Delete}, h, opts)
}

// OnSave declares that h runs after rows are inserted or updated.
func OnSave[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Insert | triggers.Update}, h, opts)
}

// OnTruncate declares that h runs after the table was truncated. The payload
// has no rows. Truncating a single partition is not reported.
func OnTruncate[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Truncate}, h, opts)
}

// OnSoftDelete declares that h runs when the model's soft-delete column becomes
// set, as GORM's Delete does for a model with gorm.DeletedAt. The event is an
// update. A row that is really deleted is not reported.
func OnSoftDelete[M any](model *M, h Handler[M], opts ...Option) {
	declare(model, kind{ops: triggers.Update, softDelete: true}, h, opts)
}

// On declares that h runs after any of the operations, which combine with |:
//
//	hooks.On(&Author{}, triggers.Insert|triggers.Delete, h)
func On[M any](model *M, ops triggers.Op, h Handler[M], opts ...Option) {
	declare(model, kind{ops: ops}, h, opts)
}

// OnInsertBatch is OnInsert with a function that takes several events at once.
func OnInsertBatch[M any](model *M, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: triggers.Insert}, h, opts)
}

// OnUpdateBatch is OnUpdate with a function that takes several events at once.
func OnUpdateBatch[M any](model *M, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: triggers.Update}, h, opts)
}

// OnDeleteBatch is OnDelete with a function that takes several events at once.
func OnDeleteBatch[M any](model *M, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: triggers.Delete}, h, opts)
}

// OnSaveBatch is OnSave with a function that takes several events at once.
func OnSaveBatch[M any](model *M, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: triggers.Insert | triggers.Update}, h, opts)
}

// OnSoftDeleteBatch is OnSoftDelete with a function that takes several events at once.
func OnSoftDeleteBatch[M any](model *M, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: triggers.Update, softDelete: true}, h, opts)
}

// OnBatch is On with a function that takes several events at once.
func OnBatch[M any](model *M, ops triggers.Op, h BatchHandler[M], opts ...Option) {
	declareBatch(model, kind{ops: ops}, h, opts)
}

// kind is what a declarator asks for.
type kind struct {
	ops        triggers.Op
	softDelete bool
}

// String names the kind in channels and subscriptions.
func (k kind) String() string {
	switch {
	case k.softDelete:
		return "soft_delete"
	case k.ops == triggers.Insert|triggers.Update:
		return "save"
	}
	return strings.ReplaceAll(k.ops.String(), "|", "_")
}

func declare[M any](_ *M, k kind, h Handler[M], opts []Option) {
	declareAny(k, &declaration[M]{handler: h}, h, h == nil, opts)
}

func declareBatch[M any](_ *M, k kind, h BatchHandler[M], opts []Option) {
	declareAny(k, &declaration[M]{several: h}, h, h == nil, opts)
}

func declareAny[M any](k kind, d *declaration[M], h any, missing bool, opts []Option) {
	place, model := site.Caller(), reflect.TypeFor[M]()
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("pubsub: the listener on %s of %s declared at %s: %s", k, model, place, fmt.Sprintf(format, args...)))
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case missing:
		fail("it has no function")
	case model.Kind() != reflect.Struct:
		fail("the model must be a pointer to a struct, such as &Author{}")
	case o.problem != nil:
		fail("%v", o.problem)
	}
	d.kind, d.options, d.site = k, o, place
	// The names that the database will give don't matter yet.
	if err := (triggers.Definition{Channel: cmp.Or(o.channel, "x"), Table: "x", Ops: k.ops, Columns: o.columns, When: o.when}).Problem(); err != nil {
		fail("%v", err)
	}
	name, anonymous := listener.DefaultName(model.Name()+"."+k.String(), h, place)
	listener.Declare(listener.Declaration{
		Name: name, Anonymous: anonymous,
		Site: place,
		Bind: d.bind,
	}, o.delivery...)
}
