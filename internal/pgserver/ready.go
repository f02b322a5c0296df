package pgserver

import (
	"context"
	"time"
)

// Bounds of this package's own, for callers whose context has none.
const (
	connectLimit = 10 * time.Second // one connection attempt
	startLimit   = time.Minute      // a server's start, without pull or download
)

// answers reports whether the server runs a query.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	return execute(ctx, url, "select 1")
}

// waitReady returns when the server answers. Between two attempts it calls pause,
// which waits for the given time and returns an error when waiting has become
// pointless.
func waitReady(ctx context.Context, url string, pause func(time.Duration) error) error {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		err := answers(ctx, url)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if err := pause(delay); err != nil {
			return err
		}
	}
}
