package hooks_test

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/triggers"
)

type Author struct {
	ID        int64
	Name      string
	Email     string
	DeletedAt gorm.DeletedAt
}

type Order struct {
	ID     int64
	Status string
}

func show(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Author]) error {
	if p.Op == triggers.Update && p.Changed("name") {
		fmt.Println(p.Old.Name, "is now", p.New.Name)
	}
	return nil
}

func paid(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Order]) error {
	fmt.Println("order", p.New.ID, "is paid")
	return nil
}

// The declarators, in a registry of their own.
func Example() {
	in := hooks.In(hooks.NewRegistry())
	hooks.OnInsert(&Author{}, show, in)
	hooks.OnUpdate(&Author{}, show, in, hooks.Columns("name", "email")) // updates that change one of them
	hooks.OnSave(&Order{}, paid, in, hooks.When("NEW.status = 'paid'")) // insert or update
	hooks.OnDelete(&Author{}, show, in)
	hooks.OnSoftDelete(&Author{}, show, in) // deleted_at becomes set
	hooks.OnTruncate(&Author{}, show, in)
	hooks.On(&Author{}, triggers.Insert|triggers.Delete, show, in)
	// Output:
}

// A payload made by hand, as in a handler's unit test.
func ExampleTriggerPayload_Changed() {
	p := hooks.TriggerPayload[Author]{
		Op:  triggers.Update,
		Old: &Author{ID: 1, Name: "Ada"},
		New: &Author{ID: 1, Name: "Ada Lovelace"},
	}
	fmt.Println(p.Changed("name"), p.Changed("Email"))
	_ = show(context.Background(), nil, p)
	// Output:
	// true false
	// Ada is now Ada Lovelace
}
