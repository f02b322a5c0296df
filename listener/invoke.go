package listener

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"gorm.io/gorm"
)

// errGoexit is what a function did that ended its goroutine.
var errGoexit = errors.New("the function ended its goroutine with runtime.Goexit, as a test's FailNow does")

// invoke calls a declared function within its time, none when timeout is 0. A
// panic becomes an error. When the function ends its goroutine invoke doesn't
// return, and goexit is called.
func invoke(ctx context.Context, session *gorm.DB, timeout time.Duration, call Call, goexit func()) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
			return
		}
		goexit()
	}()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &timeoutError{timeout})
		defer cancel()
		session = session.WithContext(ctx)
	}
	if err = call(ctx, session); err != nil {
		_ = err.Error() // that of a nil pointer may panic, and has to here
	}
	var late *timeoutError
	if err != nil && timeout > 0 && errors.As(context.Cause(ctx), &late) && !errors.As(err, &late) {
		err = fmt.Errorf("%w: %w", late, err)
	}
	returned = true
	return err
}

// timeoutError is the cause of the end of a function's context.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the function took longer than its timeout of %s", e.limit)
}

// panicError is a function's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
