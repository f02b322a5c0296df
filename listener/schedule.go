package listener

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"
)

// schedule makes events ready whose time has come: delayed ones, those that are
// to be tried again, and those whose lease has run out.
type schedule struct {
	store *store
	db    *gorm.DB
	log   *slog.Logger
	// nudges are the times until an event is due, of which this process knows
	// before it asks the database.
	nudges chan time.Duration
}

func newSchedule(s *store, db *gorm.DB, log *slog.Logger) *schedule {
	return &schedule{store: s, db: db, log: log, nudges: make(chan time.Duration, 64)}
}

// due says that an event is due after d. It never blocks.
func (s *schedule) due(d time.Duration) {
	select {
	case s.nudges <- d:
	default: // it is woken already
	}
}

// run works until ctx ends.
func (s *schedule) run(ctx context.Context) {
	failed := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	var at time.Time // when timer fires
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-s.nudges:
			if next := time.Now().Add(d); next.Before(at) {
				at = next
				timer.Reset(d)
			}
			continue
		case <-timer.C:
		}
		pause := slowPoll + rand.N(slowPoll/10) //nolint:gosec // jitter
		next, ok, err := s.store.promote(ctx, s.db)
		switch {
		case err != nil && ctx.Err() == nil:
			if pause = blindPoll; !failed {
				s.log.Warn("scheduled events can't be made ready; trying again", "error", err)
			}
		case ok:
			pause = min(pause, next)
		}
		failed = err != nil
		// Not sooner than a millisecond: what another process is just promoting
		// still looks due.
		pause = max(pause, time.Millisecond)
		at = time.Now().Add(pause)
		timer.Reset(pause)
	}
}
