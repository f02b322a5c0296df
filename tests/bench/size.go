package main

import (
	"fmt"
	"time"
)

// size is how much is measured. A rate is measured over three seconds or more
// where that can be had.
type size struct {
	drain        int // events that wait at the start of a drain
	drainDefault int // the same for River's defaults, which handle 1,000 a second
	large        int // the long queue
	once         int // events whose handler writes a row
	onceRiver    int // the same for River
	live         int // rows that are inserted while events are handled
	liveBatch    int // rows per INSERT
	samples      int // single rows whose latency is measured
	writers      int // connections that commit single rows
	warm, write  time.Duration
	copies       int           // COPY statements in a measurement
	copyRows     int           // rows per COPY
	limit        time.Duration // for one measurement
}

func fullSize() size {
	return size{
		drain: 100_000, drainDefault: 5_000, large: 1_000_000,
		once: 100_000, onceRiver: 10_000,
		live: 100_000, liveBatch: 1000,
		samples: 300,
		writers: 16, warm: time.Second, write: 5 * time.Second,
		copies: 20, copyRows: 10_000,
		limit: 10 * time.Minute,
	}
}

func quickSize() size {
	return size{
		drain: 2000, drainDefault: 200, large: 4000,
		once: 1000, onceRiver: 300,
		live: 3000, liveBatch: 1000,
		samples: 10,
		writers: 16, warm: 50 * time.Millisecond, write: 300 * time.Millisecond,
		copies: 2, copyRows: 1000,
		limit: time.Minute,
	}
}

func (s size) String() string {
	return fmt.Sprintf("drains of %d events (River's defaults %d, the long queue %d), exactly once %d (River %d), live %d rows in batches of %d, "+
		"%d latencies, %d writers for %s, %d COPYs of %d rows",
		s.drain, s.drainDefault, s.large, s.once, s.onceRiver, s.live, s.liveBatch, s.samples, s.writers, s.write, s.copies, s.copyRows)
}
