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
	var m mark
	require.Zero(t, m.from(now, 100))
	m.claimed(0, 180, true, time.Millisecond)
	require.EqualValues(t, 180, m.from(now, 100))
	require.EqualValues(t, 280, m.from(now, 100), "while another claim is under way")
	m.claimed(280, 395, true, 0)
	m.claimed(180, 290, true, 0)
	require.EqualValues(t, 395, m.from(now, 100), "claims that end in another order")
	m.claimed(395, 400, false, 0)
	require.Zero(t, m.from(now, 100), "nothing more above")
	m.claimed(0, 1000, true, 0)
	m.back()
	require.Zero(t, m.from(now, 100))

	// Now and then it goes back, as seldom as that takes long.
	m.claimed(0, 1000, true, time.Second)
	require.EqualValues(t, 1000, m.from(now.Add(19*time.Second), 1))
	require.Zero(t, m.from(now.Add(20*time.Second), 1))
	m.claimed(0, 1000, true, time.Millisecond)
	require.NotZero(t, m.from(now.Add(20*time.Second+resetEvery-1), 1))
	require.Zero(t, m.from(now.Add(20*time.Second+resetEvery), 1))
}
