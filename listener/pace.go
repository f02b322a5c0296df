package listener

import (
	"sync"
	"time"
)

// target is how long a transaction of the queue should last.
const target = 100 * time.Millisecond

// pace decides how many events the next batch has, from how long the last ones
// took.
type pace struct {
	mu    sync.Mutex
	size  int
	limit int
}

// growth is how much larger a batch may be than the last one.
const growth = 10

func newPace(limit int) *pace { return &pace{size: 1, limit: limit} }

func (p *pace) next() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// took learns that n events of a batch of asked were handled in d.
func (p *pace) took(n, asked int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fits := p.limit
	if each := d / time.Duration(max(n, 1)); each > 0 {
		fits = int(min(target/each, time.Duration(p.limit)))
	}
	switch {
	case fits < p.size:
		p.size = max(1, fits)
	case n >= asked: // a batch that wasn't full says nothing about a larger one
		p.size = max(1, min(fits, p.size*growth, p.limit))
	}
}

// failed makes the next batches smaller, since a failure costs a whole one.
func (p *pace) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = max(1, p.size/2)
}

// mark is the low-water mark: no event up to it is to be looked at. What was
// taken from the queue stays in its index until vacuum has been there, which a
// transaction that stays open elsewhere can put off for long, and every claim
// would walk over all of it.
//
// An event may appear below the mark, since numbers are not given in the order of
// commits. So the mark goes back to the beginning whenever nothing was found
// above it, and now and then, as seldom as the walk is long.
//
// Of an ordered subscription it is a key, so that each has its turn.
type mark struct {
	mu    sync.Mutex
	start int64 // where the beginning is
	after int64
	reset time.Time // when the mark was set back
	every time.Duration
}

const (
	resetEvery = time.Second
	resetShare = 20 // of the time goes into walks from the beginning, at most: 1/20
	resetLimit = 10 * time.Second
)

// from returns where the next claim begins.
func (m *mark) from(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.reset) >= max(m.every, resetEvery) {
		m.after, m.reset = m.start, now
	}
	return m.after
}

// claimed learns what a claim that began at from has found: up to last, and
// whether it was all that was asked for.
func (m *mark) claimed(from, last int64, full bool, cost time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from == m.start {
		m.every = min(resetShare*cost, resetLimit)
	}
	if m.after = m.start; full {
		m.after = last
	}
}

// back sets the mark back, since events have returned to the queue.
func (m *mark) back() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = m.start
}
