package listener

import (
	"sync"
	"sync/atomic"
	"time"
)

// item is a notification that waits for a subscription.
type item struct {
	payload    string
	arrived    time.Time
	generation int64 // see Message.Generation
}

// queue is the bounded buffer between the connection and a subscription's
// workers. push never blocks.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond // items were added, or the queue was closed
	items   []item
	limit   int
	closed  bool
	dropped int64
	taken   atomic.Int64 // items that takeAll gave out and that still wait
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit}
	q.filled.L = &q.mu
	return q
}

// push appends the item, or drops it and returns false when the queue is full
// or closed.
func (q *queue) push(i item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items)+int(q.taken.Load()) >= q.limit {
		q.dropped++
		return false
	}
	q.items = append(q.items, i)
	if len(q.items) == 1 {
		q.filled.Signal()
	}
	return true
}

// takeAll waits for items and returns them all, in order. Its caller, the only
// one, calls begin for each. The queue goes on with spare, the slice of an
// earlier call that the caller is done with. It returns nothing once the queue
// is closed and empty.
func (q *queue) takeAll(spare []item) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.filled.Wait()
	}
	taken := q.items
	q.taken.Store(int64(len(taken)))
	clear(spare)
	q.items = spare[:0]
	return taken
}

// begin says that one of the taken items waits no longer.
func (q *queue) begin() { q.taken.Add(-1) }

// giveBack puts taken items that were not begun back in front.
func (q *queue) giveBack(rest []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken.Store(0)
	if q.closed && q.items == nil { // discarded
		q.dropped += int64(len(rest))
		return
	}
	q.items = append(append([]item(nil), rest...), q.items...)
}

// takeOne waits for an item and returns it, and false once the queue is closed
// and empty.
func (q *queue) takeOne() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.filled.Wait()
	}
	if len(q.items) == 0 {
		return item{}, false
	}
	first := q.items[0]
	q.items[0] = item{}
	if q.items = q.items[1:]; len(q.items) > 0 {
		q.filled.Signal() // push only signals the first
	}
	return first, true
}

// close lets takers have what is there and refuses more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

// discard closes the queue and drops what is in it.
func (q *queue) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.dropped += int64(len(q.items))
	q.items = nil
	q.filled.Broadcast()
}

// drop counts taken items that will not be handled.
func (q *queue) drop(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken.Store(0)
	q.dropped += int64(n)
}

func (q *queue) stats() (waiting int, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) + int(q.taken.Load()), q.dropped
}
