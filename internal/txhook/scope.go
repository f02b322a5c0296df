package txhook

import (
	"errors"
	"sync"
)

// ErrRolledBack is what is returned for a hook that can't run, since its
// transaction was rolled back already.
var ErrRolledBack = errors.New("the transaction was rolled back")

// Scope is the hooks of one transaction. Its zero value is an open one. It is safe
// for concurrent use.
type Scope struct {
	mu    sync.Mutex
	state state
	items []item
	room  [2]item // for the first of them
	// undone are the hooks of what was rolled back while the transaction went on:
	// they wait for its end, when its connection is free.
	undone []func()
}

type state int

const (
	open state = iota
	committed
	rolledBack
)

// item is a hook, or the mark of a savepoint.
type item struct {
	mark             string // the savepoint's name; hooks have none
	commit, rollback func() // one of them, in a hook
}

// OnCommit has f called after the commit: at once when that has happened.
func (s *Scope) OnCommit(f func()) error {
	switch s.add(item{commit: f}) {
	case committed:
		f()
	case rolledBack:
		return ErrRolledBack
	case open:
	}
	return nil
}

// OnRollback has f called after the rollback of the transaction, or of the
// savepoint within which it is registered: at once when the former has happened.
func (s *Scope) OnRollback(f func()) {
	if s.add(item{rollback: f}) == rolledBack {
		f()
	}
}

// add adds the item to an open transaction.
func (s *Scope) add(i item) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.append(i)
	}
	return s.state
}

func (s *Scope) append(i item) {
	if s.items == nil {
		s.items = s.room[:0]
	}
	s.items = append(s.items, i)
}

// Saw tells the scope of a statement that was run in the transaction without an
// error.
func (s *Scope) Saw(query string) {
	c, ok := parse(query)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open {
		return
	}
	switch c.verb {
	case savepoint:
		s.append(item{mark: c.name})
	case release:
		if at := s.last(c.name); at >= 0 {
			s.release(at)
		}
	case rollbackTo:
		if at := s.last(c.name); at >= 0 {
			s.cut(at + 1)
		}
	case rollback:
		s.cut(0)
		s.state = rolledBack
	}
}

// last returns where the savepoint is, -1 for nowhere.
func (s *Scope) last(name string) int {
	for i := len(s.items) - 1; i >= 0; i-- {
		if s.items[i].mark == name {
			return i
		}
	}
	return -1
}

// release removes the marks from at on, and keeps the hooks.
func (s *Scope) release(at int) {
	kept := s.items[:at]
	for _, i := range s.items[at:] {
		if i.mark == "" {
			kept = append(kept, i)
		}
	}
	clear(s.items[len(kept):])
	s.items = kept
}

// cut removes the items from at on, as rolled back.
func (s *Scope) cut(at int) {
	for _, i := range s.items[at:] {
		if i.rollback != nil {
			s.undone = append(s.undone, i.rollback)
		}
	}
	clear(s.items[at:])
	s.items = s.items[:at]
}

// Finish tells the scope that the transaction has ended, and calls the hooks in the
// order of their registration. Further calls do nothing.
func (s *Scope) Finish(commit bool) {
	s.mu.Lock()
	if s.state == committed || s.state == rolledBack && s.undone == nil {
		s.mu.Unlock()
		return
	}
	if commit && s.state == open {
		s.state = committed
	} else {
		s.cut(0)
		s.state = rolledBack
	}
	items, undone := s.items, s.undone
	s.items, s.undone = nil, nil
	s.mu.Unlock()
	for _, f := range undone {
		f()
	}
	for _, i := range items {
		if i.commit != nil {
			i.commit()
		}
	}
}
