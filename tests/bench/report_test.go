package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 2, median([]float64{3, 1, 2}), 0)
	require.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 0)
	require.True(t, math.IsNaN(median(nil)))
}

func TestShow(t *testing.T) {
	t.Parallel()
	for text, v := range map[string]float64{"0.01": 0.012, "9.88": 9.876, "98.8": 98.76, "988": 987.6, "9,876": 9876.4, "1,234,567": 1234567} {
		require.Equal(t, text, show(v))
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	of, against := figure{"a", rate}, figure{"b", rate}
	measured := func(b bar, pairs ...[2]float64) []outcome {
		r := result{group: group{bars: []bar{b}}}
		for _, p := range pairs {
			r.rounds = append(r.rounds, round{"a": {rate: p[0]}, "b": {rate: p[1]}})
		}
		return r.outcomes()
	}
	rounds := [][2]float64{{20, 10}, {30, 10}, {90, 40}} // ratios 2, 3, 2.25; medians 30 and 10

	o := measured(bar{of: of, against: against, least: 2.2}, rounds...)[0]
	require.InDelta(t, 2.25, o.medianOfRatios, 1e-9)
	require.InDelta(t, 3, o.ofMedians, 1e-9)
	require.Equal(t, "met", o.verdict())

	for want, b := range map[string]bar{
		"NOT MET":         {of: of, against: against, least: 2.5}, // one of the ratios isn't enough
		"met":             {of: of, against: against, atMost: 3},
		"for information": {of: of, against: against},
	} {
		require.Equal(t, want, measured(b, rounds...)[0].verdict(), "%+v", b)
	}
	require.Equal(t, "NOT MET", measured(bar{of: of, against: against, atMost: 2.5}, rounds...)[0].verdict())
	require.Empty(t, measured(bar{of: of, against: figure{"c", rate}, least: 1}, rounds...), "nobody measured c")
}

// Every bar compares what its group measures.
func TestBars(t *testing.T) {
	t.Parallel()
	for _, g := range groups {
		names := map[string]bool{}
		for _, c := range g.contenders {
			require.False(t, names[c.name], "%s has %q twice", g.key, c.name)
			names[c.name] = true
		}
		for _, b := range g.bars {
			require.True(t, names[b.of.contender] && names[b.against.contender], "%s: %s", g.key, b.title)
		}
	}
}
