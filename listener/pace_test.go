package listener

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p := newPace(1000)
	require.Equal(t, 1, p.next(), "nothing is known of the function yet")
	p.took(1, 1, time.Microsecond)
	require.Equal(t, 10, p.next())
	p.took(10, 10, 10*time.Microsecond)
	p.took(100, 100, 100*time.Microsecond)
	require.Equal(t, 1000, p.next())
	p.took(1000, 1000, time.Millisecond)
	require.Equal(t, 1000, p.next(), "the limit")
	p.took(20, 1000, 100*time.Millisecond)
	require.Equal(t, 20, p.next(), "5 ms each")
	p.took(3, 20, 3*time.Millisecond)
	require.Equal(t, 20, p.next(), "a batch that wasn't full says nothing about a larger one")
	p.took(20, 20, 20*time.Millisecond)
	require.Equal(t, 100, p.next(), "1 ms each")
	p.failed()
	require.Equal(t, 50, p.next())
	p.took(1, 50, time.Hour)
	require.Equal(t, 1, p.next())
	p.failed()
	require.Equal(t, 1, p.next())
	p.took(1, 1, 0)
	require.Equal(t, 10, p.next())
	p.took(0, 10, time.Second)
	require.Equal(t, 1, p.next(), "none in a second")
}

func TestMark(t *testing.T) {
	t.Parallel()
	now := time.Now()
	m := mark{start: -5, after: -5}
	require.EqualValues(t, -5, m.from(now))
	m.claimed(-5, 180, true, time.Millisecond)
	require.EqualValues(t, 180, m.from(now))
	m.claimed(180, 290, true, 0)
	require.EqualValues(t, 290, m.from(now))
	m.claimed(290, 300, false, 0)
	require.EqualValues(t, -5, m.from(now), "nothing more above")
	m.claimed(-5, 1000, true, 0)
	m.back()
	require.EqualValues(t, -5, m.from(now))

	// Now and then it goes back, as seldom as that takes long.
	m.claimed(-5, 1000, true, 100*time.Millisecond)
	require.EqualValues(t, 1000, m.from(now.Add(2*time.Second-1)))
	require.EqualValues(t, -5, m.from(now.Add(2*time.Second)))
	m.claimed(-5, 1000, true, time.Millisecond)
	now = now.Add(2 * time.Second)
	require.EqualValues(t, 1000, m.from(now.Add(resetEvery-1)))
	require.EqualValues(t, -5, m.from(now.Add(resetEvery)))
	now = now.Add(resetEvery)
	m.claimed(-5, 1000, true, time.Hour)
	require.EqualValues(t, -5, m.from(now.Add(resetLimit)))
}
