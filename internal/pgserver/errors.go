package pgserver

import (
	"errors"
	"fmt"
)

// ErrNoServer is returned when no source has a Postgres: the error's text lists
// what was tried, why each failed, and what to install.
var ErrNoServer = errors.New("pgserver: no Postgres here")

// ErrNotOurs is returned by [Server.Restart] for a server that this process didn't
// start.
var ErrNotOurs = errors.New("pgserver: the server wasn't started by this process")

// ErrStopped is returned when a server is used after [Server.Stop].
var ErrStopped = errors.New("pgserver: the server is stopped")

// absentError says that a source isn't there, as opposed to there and broken: the
// next source may be tried.
type absentError struct{ reason string }

func (e *absentError) Error() string { return e.reason }

func absentf(format string, args ...any) error {
	return &absentError{reason: fmt.Sprintf(format, args...)}
}

func isAbsent(err error) (reason string, absent bool) {
	var e *absentError
	if errors.As(err, &e) {
		return e.reason, true
	}
	return "", false
}
