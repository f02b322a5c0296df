package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// wire reads the server's messages in place of pgconn, which allocates and
// copies several times for each notification. It stands between pgconn and the
// network: notifications are taken out of its buffer directly, and everything
// else is left to pgconn, which gets no byte beyond the message that it reads,
// so that nothing is ever stuck in a buffer of pgconn's.
//
// The format of messages is Postgres's protocol 3: a byte for the type, four
// for the length of what follows, itself included.
type wire struct {
	source     io.Reader
	buffer     []byte
	start, end int       // what is unread in the buffer
	left       int       // bytes that pgconn hasn't read of its message
	arrived    time.Time // when the last bytes came
}

const (
	wireBuffer = 64 << 10
	wireHeader = 5
	// notification is the type of NotificationResponse.
	notification = 'A'
)

var errProtocol = errors.New("the server sent a malformed message")

func newWire(source io.Reader) *wire {
	return &wire{source: source, buffer: make([]byte, wireBuffer)}
}

// Read gives pgconn bytes of one message.
func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		size, err := w.peek()
		if err != nil {
			return 0, err
		}
		w.left = size
	}
	if err := w.fill(1); err != nil {
		return 0, err
	}
	n := copy(p, w.buffer[w.start:min(w.end, w.start+w.left)])
	w.start += n
	w.left -= n
	return n, nil
}

// peek waits for a message's header and returns the message's size.
func (w *wire) peek() (size int, err error) {
	if err := w.fill(wireHeader); err != nil {
		return 0, err
	}
	length := binary.BigEndian.Uint32(w.buffer[w.start+1:])
	if length < 4 || length > 1<<30 {
		return 0, errProtocol
	}
	return 1 + int(length), nil
}

// next waits for a message. If that is a notification it is consumed and
// returned; both parts are valid until the next call. Else ok is false and the
// message is pgconn's to read.
func (w *wire) next() (channel, payload []byte, ok bool, err error) {
	if w.left > 0 { // pgconn is in the middle of one
		return nil, nil, false, nil
	}
	size, err := w.peek()
	if err != nil || w.buffer[w.start] != notification {
		return nil, nil, false, err
	}
	if err := w.fill(size); err != nil {
		return nil, nil, false, err
	}
	body := w.buffer[w.start+wireHeader : w.start+size]
	w.start += size
	if len(body) < 4 {
		return nil, nil, false, errProtocol
	}
	channel, rest, ok := bytes.Cut(body[4:], []byte{0}) // after the sender's process ID
	payload, _, ended := bytes.Cut(rest, []byte{0})
	if !ok || !ended {
		return nil, nil, false, errProtocol
	}
	return channel, payload, true, nil
}

// fill waits until n bytes are in the buffer. After an error, which may be a
// time-out, what has come so far is kept.
func (w *wire) fill(n int) error {
	if w.end-w.start >= n {
		return nil
	}
	if w.start > 0 {
		copy(w.buffer, w.buffer[w.start:w.end])
		w.end -= w.start
		w.start = 0
	}
	if n > len(w.buffer) {
		w.buffer = append(w.buffer, make([]byte, n-len(w.buffer))...)
	}
	for w.end < n {
		read, err := w.source.Read(w.buffer[w.end:])
		w.end += read
		if read > 0 {
			w.arrived = time.Now()
		}
		if err != nil && w.end < n {
			return err
		}
	}
	return nil
}
