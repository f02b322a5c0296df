package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTally(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ids []int64
		err string
	}{
		"EachOnce": {ids: []int64{3, 1, 2}},
		"Missing":  {ids: []int64{1, 3}, err: "1 of 3 events were not handled exactly once; event 2 0 times"},
		"Twice":    {ids: []int64{1, 2, 3, 3}, err: "1 of 3 events were not handled exactly once; event 3 2 times"},
		"TooMany":  {ids: []int64{1, 2, 3, 4}, err: "event 4 1 times"},
		"Strange":  {ids: []int64{1, 2, 3, 99}, err: "1 events were handled that nobody stored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tally := newTally(10)
			for _, id := range c.ids {
				tally.add(id)
			}
			if c.err == "" {
				require.NoError(t, tally.check(3))
			} else {
				require.ErrorContains(t, tally.check(3), c.err)
			}
		})
	}
}
