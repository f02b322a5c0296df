package tests

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// here is the line above the caller's, as messages name it.
func here(back int) string {
	_, _, line, _ := runtime.Caller(1)
	return fmt.Sprintf("tests/declare_channel_test.go:%d", line-back)
}

// panicOf returns what f panics with.
func panicOf(t *testing.T, f func()) (message string) {
	t.Helper()
	defer func() {
		value := recover()
		require.NotNil(t, value, "it must panic")
		message = fmt.Sprint(value)
	}()
	f()
	return ""
}

func ignore[T any](context.Context, *gorm.DB, T) error { return nil }

// declared declares a channel of T in a registry of its own.
func declared[T any](name string, opts ...listener.Option) func() {
	return func() {
		listener.NewChannel[T](name, append(opts, listener.Broadcast(), listener.In(hooks.NewRegistry()))...)
	}
}

type (
	withChan      struct{ Nested struct{ C chan int } }
	withInterface struct{ R io.Reader }
	withMap       struct{ M map[bool]int }
	excluded      struct {
		C chan int `json:"-"`
		T time.Time
	}
)

func TestImpossibleChannels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		declare func()
		want    string
	}{
		"Chan":             {declared[chan int]("c"), "chan int"},
		"Func":             {declared[func()]("c"), "func()"},
		"Complex":          {declared[complex128]("c"), "complex128"},
		"Interface":        {declared[io.Reader]("c"), "io.Reader"},
		"Nested":           {declared[withChan]("c"), "Nested"},
		"NestedInterface":  {declared[withInterface]("c"), "io.Reader"},
		"InSlice":          {declared[[]map[string]*complex64]("c"), "complex64"},
		"MapKey":           {declared[withMap]("c"), "bool"},
		"EmptyName":        {declared[int](""), "0 bytes"},
		"LongName":         {declared[int](strings.Repeat("x", 64)), "64 bytes"},
		"LongUnicodeName":  {declared[int](strings.Repeat("é", 32)), "64 bytes"},
		"ZeroByte":         {declared[int]("a\x00b"), "a\\x00b"},
		"NotUTF8":          {declared[int]("a\xffb"), "a\\xffb"},
		"SubscriptionName": {declared[int]("c", listener.Name("x")), "Listen"},
		"EmptyOption":      {declared[int]("c", listener.Name("")), "empty"},
		"Buffer":           {declared[int]("c", listener.Buffer(0)), "Buffer(0)"},
		"Concurrency":      {declared[int]("c", listener.Concurrency(-1)), "Concurrency(-1)"},
		"Timeout":          {declared[int]("c", listener.Timeout(-time.Second)), "Timeout(-1s)"},
		"NilRegistry":      {func() { listener.NewChannel[int]("c", listener.In(nil)) }, "registry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := panicOf(t, c.declare)
			require.Contains(t, message, c.want)
			require.Regexp(t, `tests/declare_channel_test\.go:\d+`, message)
		})
	}
	for name, declare := range map[string]func(){
		"Excluded": declared[excluded]("c"), "Any": declared[any]("c"), "TextKey": declared[map[time.Time]int]("c"), "IntKey": declared[map[int8]int]("c"),
		"SixtyThreeBytes": declared[int](strings.Repeat("x", 63)), "Time": declared[time.Time]("c"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NotPanics(t, declare)
		})
	}
}

func TestDeclarationsAreNamedWithTheirPlaces(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[int]("c", listener.Broadcast(), listener.In(r))
	first := here(1)
	message := panicOf(t, func() { listener.NewChannel[string]("c", listener.Broadcast(), listener.In(r)) })
	require.Contains(t, message, here(1))
	require.Contains(t, message, first)
	require.Contains(t, message, `"c"`)

	message = panicOf(t, func() { c.Listen(nil) })
	require.Contains(t, message, here(1))
	require.Contains(t, message, `"c"`)

	c.Listen(ignore[int], listener.Name("x"))
	first = here(1)
	message = panicOf(t, func() { c.Listen(ignore[int], listener.Name("x")) })
	require.Contains(t, message, here(1))
	require.Contains(t, message, first)
	require.Contains(t, message, `"x"`)

	c.Listen(ignore[int])
	message = panicOf(t, func() { c.Listen(ignore[int]) })
	require.Contains(t, message, here(1))
	require.Contains(t, message, `"c.ignore"`, "the default is the function's name")

	message = panicOf(t, func() { c.Listen(ignore[int], listener.Name("y"), listener.Buffer(0)) })
	require.Contains(t, message, here(1))
	require.Contains(t, message, "Buffer(0)")

	// The same name in another registry is another's.
	require.NotPanics(t, func() { listener.NewChannel[int]("c", listener.Broadcast(), listener.In(hooks.NewRegistry())) })
	var names []string
	for _, s := range r.Subscriptions() {
		names = append(names, s.Name())
	}
	require.Equal(t, []string{"x", "c.ignore"}, names, "a refused declaration leaves nothing behind")
}

func TestChannelOptionsHoldForItsSubscriptions(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	c := listener.NewChannel[int]("c", listener.Broadcast(), listener.In(r), listener.Timeout(20*time.Millisecond))
	causes := newInbox[string]()
	wait := func(name string) func(context.Context, *gorm.DB, int) error {
		return func(ctx context.Context, _ *gorm.DB, _ int) error {
			<-ctx.Done()
			causes <- name + ": " + context.Cause(ctx).Error()
			return nil
		}
	}
	c.Listen(wait("channel's"), listener.Name("a"))
	c.Listen(wait("own"), listener.Name("b"), listener.Timeout(40*time.Millisecond))
	db, _ := taped(t, r, nil)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	require.NoError(t, c.Notify(t.Context(), db, 1))
	got := causes.take(t, 2)
	require.Contains(t, strings.Join(got, "\n"), "channel's: the function took longer than its timeout of 20ms")
	require.Contains(t, strings.Join(got, "\n"), "own: the function took longer than its timeout of 40ms")
}
