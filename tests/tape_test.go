package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// soon is how long a test waits for what must happen.
const soon = 15 * time.Second

// tape is a log that a test can look into.
type tape struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *tape) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(line)
}

func (t *tape) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *tape) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(t, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// with returns the records of this level whose message begins like this.
func (t *tape) with(level slog.Level, message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(t.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil || fields["level"] != level.String() {
			continue
		}
		if text, ok := fields["msg"].(string); ok && strings.HasPrefix(text, message) {
			found = append(found, fields)
		}
	}
	return found
}

// taped opens a database with the plugin in it and the plugin's log. When the
// test has failed, the log is shown.
func taped(t *testing.T, r *listener.Registry, models []any, opts ...pubsub.Option) (*gorm.DB, *tape) {
	t.Helper()
	log := newTape(t)
	opts = append([]pubsub.Option{pubsub.WithRegistry(r), pubsub.Logger(log.logger())}, opts...)
	return pubsubtest.Open(t, pubsubtest.Plugin(pubsub.New(opts...)), pubsubtest.Models(models...)), log
}

func newTape(t *testing.T) *tape {
	t.Helper()
	log := &tape{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the plugin's log:\n%s", log)
		}
	})
	return log
}

// dsnOf returns the address that pubsubtest opened.
func dsnOf(t testing.TB, db *gorm.DB) string {
	t.Helper()
	d, ok := db.Dialector.(*pubsub.Dialector)
	require.True(t, ok)
	return d.DSN
}

// inbox has what a function was called with, in order.
type inbox[T any] chan T

func newInbox[T any]() inbox[T] { return make(inbox[T], 100_000) }

// put is a typed channel's listener.
func (in inbox[T]) put(_ context.Context, _ *gorm.DB, v T) error {
	in <- v
	return nil
}

// next waits for the next one.
func (in inbox[T]) next(t *testing.T) T {
	t.Helper()
	return await(t, in)
}

// take waits for the next n.
func (in inbox[T]) take(t *testing.T, n int) []T {
	t.Helper()
	all := make([]T, 0, n)
	deadline := time.After(soon)
	for len(all) < n {
		select {
		case v := <-in:
			all = append(all, v)
		case <-deadline:
			require.FailNow(t, "not all have arrived in time", "%d of %d", len(all), n)
		}
	}
	return all
}

// await waits for what comes from c, or for its being closed.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		require.FailNow(t, "nothing has arrived in time")
		panic("unreachable")
	}
}

// counters returns the subscription's counters.
func counters(t *testing.T, db *gorm.DB, name string) listener.SubscriptionHealth {
	t.Helper()
	for _, s := range pubsubtest.Of(t, db).Health().Subscriptions {
		if s.Name == name {
			return s
		}
	}
	require.FailNow(t, "no such subscription", name)
	return listener.SubscriptionHealth{}
}

// comesTrue waits for what can't be waited for otherwise.
func comesTrue(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, soon, 2*time.Millisecond, what)
}
