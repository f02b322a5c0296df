package row

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"runtime/debug"

	"gorm.io/gorm/schema"
)

// fieldError is what a field's own code returned or panicked with. Its text
// says so and no more: that code may well put the value in its errors.
type fieldError struct {
	what string
	err  error
}

func (e *fieldError) Error() string { return fmt.Sprintf("%s failed (%T)", e.what, e.err) }

// callScan calls a Scanner, which is the model's code and may panic.
func callScan(scanner sql.Scanner, src driver.Value) (err error) {
	defer recovered("Scan", &err)
	if err = scanner.Scan(src); err != nil {
		err = &fieldError{what: "Scan", err: err}
	}
	return err
}

// callSet calls GORM's setter of a field, which runs the field's serializer if
// it has one.
func callSet(ctx context.Context, field *schema.Field, dst reflect.Value, value any) (err error) {
	defer recovered("the field's setter", &err)
	if err = field.Set(ctx, dst, value); err != nil {
		err = &fieldError{what: "the field's setter", err: err}
	}
	return err
}

func recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = &fieldError{what: what, err: &PanicError{Value: r, Stack: debug.Stack()}}
	}
}
