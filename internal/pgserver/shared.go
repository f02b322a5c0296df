package pgserver

import (
	"context"
	"sync"
)

var shared struct {
	once   sync.Once
	done   chan struct{}
	server *Server
	err    error
}

// Shared returns the one server of this process, started by the first call with
// default options; it lives as long as the process. Concurrent callers get the
// same server, or the same error: a failed start isn't tried again. Nobody should
// Stop it: that would end it for everybody.
//
// Shared blocks until the server is there or ctx ends. A caller whose ctx ends
// leaves alone; the start goes on for the others.
func Shared(ctx context.Context) (*Server, error) {
	shared.once.Do(func() {
		shared.done = make(chan struct{})
		go func() {
			defer close(shared.done)
			shared.server, shared.err = Start(context.WithoutCancel(ctx))
		}()
	})
	select {
	case <-shared.done:
		return shared.server, shared.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
