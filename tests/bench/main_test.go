package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// quick runs everything once with small numbers.
func quick(ctx context.Context, tb testing.TB) {
	tb.Helper()
	var out bytes.Buffer
	err := command(ctx, []string{"-quick"}, &out)
	tb.Logf("%s", &out)
	require.NoError(tb, err)
}

func TestQuick(t *testing.T) {
	t.Parallel()
	quick(t.Context(), t)
}

// BenchmarkQuick shows that everything works; its time says nothing.
func BenchmarkQuick(b *testing.B) {
	for b.Loop() {
		quick(b.Context(), b)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-only", "drain,nothing"}, {"-who", "("}, {"drain"}, {"-unknown"},
	} {
		require.Error(t, command(t.Context(), args, &bytes.Buffer{}), "%v", args)
	}
}
