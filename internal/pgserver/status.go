package pgserver

import (
	"bufio"
	"io"
	"strings"
	"time"
)

// status reads the lines that a supervising shell writes. It waits by the read
// deadline of a pipe or a connection and so needs no goroutine.
type status struct {
	file    deadlineReader
	reader  *bufio.Reader
	partial strings.Builder
}

type deadlineReader interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// newStatus reads from reader, whose bytes come from file.
func newStatus(file deadlineReader, reader io.Reader) *status {
	return &status{file: file, reader: bufio.NewReader(reader)}
}

// next returns the next line, io.EOF when every writer is gone, or
// os.ErrDeadlineExceeded after the wait.
func (s *status) next(wait time.Duration) (string, error) {
	if err := s.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	text, err := s.reader.ReadString('\n')
	s.partial.WriteString(text)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(s.partial.String(), "\n")
	s.partial.Reset()
	return line, nil
}
