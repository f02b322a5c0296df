// Package pgserver gives a process a Postgres of its own: for the example
// program and for the tests, never for an application.
//
// [Start] looks for one in this order and takes the first that is there:
//
//  1. the server that the environment variable DATABASE_URL names;
//  2. local binaries: $PGBIN, then $PATH, then the usual places of
//     distributions, Homebrew and Postgres.app, highest version first;
//  3. Docker, when its engine answers;
//  4. a pinned, checksummed download of Postgres, kept in the user's cache.
//
// A source that isn't there is passed over; one that is there and fails is an
// error at once, so that a mistake in a setting or in DATABASE_URL never ends in
// another server than the one that was meant. When nothing is there, the error
// wraps [ErrNoServer] and lists every source with the reason.
//
// What Start started ends with the process, however the process ends: after
// SIGKILL, too, no Postgres, no folder and no container is left behind. Its data
// is made to be thrown away: fsync is off.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// Server is a Postgres server, either one that this package started or one that
// it was told to use. It is safe for concurrent use.
type Server struct {
	url      string
	origin   string
	instance instance // nil for a server that isn't ours

	mu      sync.Mutex // held by Restart and Stop
	stopped atomic.Bool
	stopErr error
}

// instance is a server that this process started and must end.
type instance interface {
	restart(ctx context.Context) error
	stop() error
}

// live keeps every running server reachable. Without it a server whose *Server a
// program dropped would end at the next garbage collection: the collector closes
// the pipe that holds the server.
var live sync.Map

// Start finds or starts a Postgres as the package comment says, or as the options
// say, and returns when it answers a query. It blocks for about half a second with
// local binaries, for as long as a pull or a download takes otherwise; ctx bounds
// that, and ends nothing after Start has returned.
//
// The server runs until [Server.Stop] or the end of the process, also when the
// returned value is dropped. Errors wrap [ErrNoServer] when no source was there.
func Start(ctx context.Context, opts ...Option) (*Server, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	var tried []string
	for _, source := range cfg.sources {
		s, err := source.start(ctx, cfg)
		if err == nil {
			if s.instance != nil {
				live.Store(s, nil)
			}
			return s, nil
		}
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		reason, absent := isAbsent(err)
		if !absent || ctx.Err() != nil {
			return nil, fmt.Errorf("start a Postgres from %s: %w", source.name, err)
		}
		tried = append(tried, "  "+source.name+": "+indent(reason))
	}
	return nil, fmt.Errorf("%w; tried in this order:\n%s\n%s", ErrNoServer, strings.Join(tried, "\n"), cfg.advice)
}

// URL is a connection string of the server's maintenance database, for libpq,
// psql and pgx alike, as a superuser when the server is ours. It stays valid over
// [Server.Restart]. It may hold a password.
func (s *Server) URL() string { return s.url }

// Origin says in one line, for a human, where the server came from, such as
// "local binaries /usr/lib/postgresql/17/bin". It never holds a password.
func (s *Server) Origin() string { return s.origin }

// Restart shuts the server down, ending every session, and starts it again on the
// same data and the same URL. It blocks until the server answers again, bounded by
// ctx. It also brings back a server that died. After an error the server may be
// down; Restart may be tried again.
//
// It returns [ErrNotOurs] for a server that this process didn't start and
// [ErrStopped] after Stop.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Load() {
		return ErrStopped
	}
	if s.instance == nil {
		return ErrNotOurs
	}
	if err := s.instance.restart(ctx); err != nil {
		return fmt.Errorf("restart %s: %w", s.origin, err)
	}
	return nil
}

// Stop ends the server and removes everything that belongs to it: processes, data,
// container. It does nothing to a server that this process didn't start. It waits
// for the end, for half a minute at most. Further calls return what the first did.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Swap(true) || s.instance == nil {
		return s.stopErr
	}
	live.Delete(s)
	if err := s.instance.stop(); err != nil {
		s.stopErr = fmt.Errorf("stop %s: %w", s.origin, err)
	}
	return s.stopErr
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}
