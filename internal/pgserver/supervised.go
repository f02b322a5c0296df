package pgserver

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

//go:embed supervise.sh
var superviseScript string

// supervised is a Postgres below a supervising shell, see supervise.sh: the shell
// does what we write to in, and reports on status.
type supervised struct {
	in     io.WriteCloser // the shell and with it Postgres end when it is closed
	status *status
	url    string
	log    func() string // the server's log, as far as it is to be had
	starts int
	noise  []string // what the shell wrote that isn't a report
}

// started waits for the next start of Postgres and until it answers.
func (s *supervised) started(ctx context.Context) error {
	s.starts++
	if _, err := s.await(ctx, fmt.Sprintf("started %d", s.starts)); err != nil {
		return err
	}
	if err := waitReady(ctx, s.url, s.pause); err != nil {
		return s.withLog(err)
	}
	return nil
}

func (s *supervised) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := io.WriteString(s.in, "restart\n"); err != nil {
		return fmt.Errorf("tell the supervising shell: %w", err)
	}
	return s.started(ctx)
}

// await returns what follows prefix in the first line that has it.
func (s *supervised) await(ctx context.Context, prefix string) (string, error) {
	for {
		line, err := s.status.next(20 * time.Millisecond)
		rest, found := strings.CutPrefix(line, prefix)
		what, failed := strings.CutPrefix(line, "failed ")
		switch {
		case err == nil && found:
			return rest, nil
		case err == nil && failed:
			return "", s.withLog(fmt.Errorf("%s failed", what))
		case err == nil:
			s.note(line)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return "", s.withLog(fmt.Errorf("the supervising shell ended: %w", err))
		case ctx.Err() != nil:
			return "", s.withLog(context.Cause(ctx))
		}
	}
}

// pause waits, and returns an error when Postgres ends meanwhile.
func (s *supervised) pause(wait time.Duration) error {
	line, err := s.status.next(wait)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the supervising shell ended: %w", err)
	}
	if code, ok := strings.CutPrefix(line, fmt.Sprintf("exited %d ", s.starts)); ok {
		return fmt.Errorf("postgres exited with code %s", code)
	}
	s.note(line)
	return nil
}

func (s *supervised) note(line string) {
	if !strings.HasPrefix(line, "exited ") && !strings.HasPrefix(line, "started ") {
		s.noise = append(s.noise, line)
	}
}

// withLog adds to an error the end of what the shell and the server wrote.
func (s *supervised) withLog(err error) error {
	text := strings.TrimSpace(strings.Join(s.noise, "\n") + "\n" + s.log())
	if text == "" {
		return err
	}
	return fmt.Errorf("%w; the end of its log:\n%s", err, lastLines(text, 20))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
