package txhook

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScope(t *testing.T) {
	t.Parallel()
	var s Scope
	var got []string
	add := func(name string) {
		require.NoError(t, s.OnCommit(func() { got = append(got, name) }))
		s.OnRollback(func() { got = append(got, "not "+name) })
	}
	add("a")
	s.Saw("SAVEPOINT x")
	add("b")
	s.Saw("ROLLBACK TO y") // there is none, so that the database refuses it
	s.Saw("SAVEPOINT y")
	add("c")
	s.Saw("ROLLBACK TO y")
	s.Saw("RELEASE x")
	add("d")
	require.Empty(t, got)
	s.Finish(true)
	require.Equal(t, []string{"not c", "a", "b", "d"}, got)
	s.Finish(true)
	s.Finish(false)
	require.Len(t, got, 4)
	add("e")
	require.Equal(t, "e", got[4])
}

func TestScopeRolledBackBySQL(t *testing.T) {
	t.Parallel()
	var s Scope
	var got []string
	require.NoError(t, s.OnCommit(func() { got = append(got, "commit") }))
	s.OnRollback(func() { got = append(got, "rollback") })
	s.Saw("ROLLBACK")
	require.ErrorIs(t, s.OnCommit(func() {}), ErrRolledBack)
	s.Finish(true)
	s.Finish(true)
	require.Equal(t, []string{"rollback"}, got)
}

// Hooks of several goroutines, and one that registers another.
func TestScopeConcurrently(t *testing.T) {
	t.Parallel()
	var s Scope
	var mu sync.Mutex
	var got []int
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			err := s.OnCommit(func() {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, i)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.NoError(t, s.OnCommit(func() { require.NoError(t, s.OnCommit(func() { got = append(got, 100) })) }))
	s.Finish(true)
	slices.Sort(got)
	require.Len(t, got, 101)
	require.Equal(t, 100, got[100])
}
