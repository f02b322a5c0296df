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

// Handler is a function on a model. tx is an ordinary session on the plugin's
// database, bound to ctx; no transaction is open. ctx ends when the process
// stops, after a grace period, and with Timeout.
//
// An error or a panic is logged and counted; a broadcast is not tried again.
type Handler[M any] func(ctx context.Context, tx *gorm.DB, p TriggerPayload[M]) error

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
	place, model := site.Caller(), reflect.TypeFor[M]()
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("pubsub: the listener on %s of %s declared at %s: %s", k, model, place, fmt.Sprintf(format, args...)))
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case h == nil:
		fail("it has no function")
	case model.Kind() != reflect.Struct:
		fail("the model must be a pointer to a struct, such as &Author{}")
	case o.problem != nil:
		fail("%v", o.problem)
	}
	d := &declaration[M]{kind: k, options: o, handler: h, site: place}
	// The names that the database will give don't matter yet.
	if err := (triggers.Definition{Channel: cmp.Or(o.channel, "x"), Table: "x", Ops: k.ops, Columns: o.columns, When: o.when}).Problem(); err != nil {
		fail("%v", err)
	}
	listener.Declare(listener.Declaration{
		Name: listener.DefaultName(model.Name()+"."+k.String(), h, place),
		Site: place,
		Bind: d.bind,
	}, o.delivery...)
}
