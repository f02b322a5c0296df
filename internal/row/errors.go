package row

import (
	"fmt"
	"strings"
)

// DecodeError is returned when a row can't be decoded. Its text names the
// column and the reason and never holds a value of the row.
type DecodeError struct {
	// Column is the table's column, empty when the JSON itself is malformed.
	Column string
	// Offset is the byte position in the source where decoding stopped.
	Offset int
	// Reason says what is wrong, in words.
	Reason string
	// Err is what a field's Scanner or serializer returned, or nil. Its text
	// may hold values of the row.
	Err error
}

// Error names the column, the position and the reason.
func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString("decode row")
	if e.Column != "" {
		fmt.Fprintf(&b, ": column %q", e.Column)
	}
	fmt.Fprintf(&b, ": offset %d: %s", e.Offset, e.Reason)
	return b.String()
}

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }

func malformed(offset int, reason string) error {
	return &DecodeError{Offset: offset, Reason: reason}
}

// PanicError is what a DecodeError wraps when a field's Scanner or serializer
// panicked.
type PanicError struct {
	// Value is what the panic was called with.
	Value any
	// Stack is the goroutine's stack at the panic.
	Stack []byte
}

// Error says that a panic happened, without its value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic (%T)", e.Value) }
