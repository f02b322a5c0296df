package listener

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryPolicy(t *testing.T) {
	t.Parallel()
	p := RetryPolicy{}.withDefaults()
	require.Equal(t, RetryPolicy{Attempts: 10, First: time.Second, Last: 10 * time.Minute}, p)
	for failed, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 10: 512 * time.Second, 11: 10 * time.Minute, math.MaxInt32: 10 * time.Minute,
	} {
		for range 100 {
			require.InDelta(t, want, p.pause(failed), float64(want)/10+1, failed)
		}
	}
	long := RetryPolicy{First: time.Hour}.withDefaults()
	require.Equal(t, time.Hour, long.Last)
	for _, wrong := range []RetryPolicy{{Attempts: -1}, {First: -1}, {Last: -1}, {First: 2, Last: 1}, {Last: 1}, {First: math.MaxInt64}} {
		require.Error(t, wrong.check(), wrong)
	}
	require.NoError(t, RetryPolicy{}.check())
}

func TestRetryDecisions(t *testing.T) {
	t.Parallel()
	p := RetryPolicy{Attempts: 3, First: time.Second, Last: time.Second}
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		failed int
		err    error
		again  bool
		pause  time.Duration
	}{
		"First":           {1, cause, true, time.Second},
		"Last":            {3, cause, false, 0},
		"Discard":         {1, fmt.Errorf("wrapped: %w", Discard(cause)), false, 0},
		"RetryAfter":      {1, fmt.Errorf("wrapped: %w", RetryAfter(time.Minute, cause)), true, time.Minute},
		"RetryAfterLast":  {3, RetryAfter(time.Minute, cause), false, 0},
		"RetryInThePast":  {1, RetryAfter(-time.Minute, cause), true, 0},
		"DiscardOfRetry":  {1, Discard(RetryAfter(time.Minute, cause)), false, 0},
		"JoinedWithOther": {1, errors.Join(cause, Discard(cause)), false, 0},
	} {
		pause, again := p.next(c.failed, c.err)
		require.Equal(t, c.again, again, name)
		require.InDelta(t, c.pause, pause, float64(c.pause)/10+1, name)
		require.ErrorIs(t, c.err, cause, name)
	}
	require.Error(t, Discard(nil))
	require.Error(t, RetryAfter(time.Second, nil))
}

func TestText(t *testing.T) {
	t.Parallel()
	require.Equal(t, "plain", text("plain"))
	require.Equal(t, `a\0b`, text("a\x00b"))
	require.Equal(t, "a\uFFFDb", text("a\xffb"))
	long := text(strings.Repeat("ä", maxText))
	require.LessOrEqual(t, len(long), maxText+10)
	require.Equal(t, "{}", array(nil))
	require.Equal(t, "{1,-2,9223372036854775807}", array([]int64{1, -2, math.MaxInt64}))
}
