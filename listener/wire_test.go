package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

func encode(t testing.TB, messages ...pgproto3.BackendMessage) []byte {
	t.Helper()
	var b []byte
	for _, m := range messages {
		var err error
		b, err = m.Encode(b)
		require.NoError(t, err)
	}
	return b
}

// interrupted gives a few bytes at a time and a time-out in between.
type interrupted struct {
	data []byte
	size int
	ok   bool
}

var errTimeout = errors.New("time-out")

func (i *interrupted) Read(p []byte) (int, error) {
	if i.ok = !i.ok; i.ok {
		return 0, errTimeout
	}
	if len(i.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), i.size)], i.data)
	i.data = i.data[n:]
	return n, nil
}

func TestWireSharesTheStreamWithPgconn(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 3*wireBuffer)
	stream := encode(
		t,
		&pgproto3.NotificationResponse{PID: 1, Channel: "a", Payload: "one"},
		&pgproto3.ParameterStatus{Name: "TimeZone", Value: big},
		&pgproto3.NotificationResponse{PID: 1, Channel: "b", Payload: ""},
		&pgproto3.NotificationResponse{PID: 1, Channel: "c", Payload: big},
		&pgproto3.NoticeResponse{Message: "hello"},
		&pgproto3.NotificationResponse{PID: 1, Channel: "d", Payload: "last"},
	)
	for name, source := range map[string]io.Reader{
		"Whole":       bytes.NewReader(stream),
		"ByteByByte":  iotest.OneByteReader(bytes.NewReader(stream)),
		"Halves":      iotest.HalfReader(bytes.NewReader(stream)),
		"DataWithEOF": iotest.DataErrReader(bytes.NewReader(stream)),
		"TimeOuts":    &interrupted{data: stream, size: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(source)
			frontend := pgproto3.NewFrontend(w, io.Discard)
			var got []string
			for len(got) < 6 {
				channel, payload, ok, err := w.next()
				if errors.Is(err, errTimeout) {
					continue
				}
				require.NoError(t, err)
				if ok {
					got = append(got, string(channel)+"="+string(payload))
					continue
				}
				message, err := frontend.Receive()
				if errors.Is(err, errTimeout) {
					continue
				}
				require.NoError(t, err)
				switch m := message.(type) {
				case *pgproto3.ParameterStatus:
					got = append(got, m.Name+"="+m.Value)
				case *pgproto3.NoticeResponse:
					got = append(got, "notice="+m.Message)
				default:
					require.Fail(t, "unexpected", "%T", m)
				}
			}
			require.Equal(t, []string{"a=one", "TimeZone=" + big, "b=", "c=" + big, "notice=hello", "d=last"}, got)
		})
	}
}

func TestWireRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string][]byte{
		"NoLength":     {'A', 0, 0, 0, 3},
		"HugeLength":   {'A', 0xff, 0xff, 0xff, 0xff},
		"NoPID":        {'A', 0, 0, 0, 6, 1, 2},
		"NoChannelEnd": {'A', 0, 0, 0, 9, 0, 0, 0, 1, 'x'},
		"NoPayloadEnd": {'A', 0, 0, 0, 11, 0, 0, 0, 1, 'x', 0, 'y'},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, ok, err := newWire(bytes.NewReader(stream)).next()
			require.ErrorIs(t, err, errProtocol)
			require.False(t, ok)
		})
	}
	_, _, _, err := newWire(bytes.NewReader([]byte{'A', 0, 0})).next()
	require.ErrorIs(t, err, io.EOF)
}

// FuzzWire compares with pgproto3 on any bytes.
func FuzzWire(f *testing.F) {
	f.Add(encode(f, &pgproto3.NotificationResponse{PID: 1, Channel: "a", Payload: "b"}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
	f.Add([]byte{'A', 0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) >= wireHeader && binary.BigEndian.Uint32(stream[1:]) > 1<<20 {
			return // only memory would be tested
		}
		w := newWire(bytes.NewReader(stream))
		channel, payload, ok, err := w.next()
		want, wantErr := pgproto3.NewFrontend(bytes.NewReader(stream), io.Discard).Receive()
		n, isNotification := want.(*pgproto3.NotificationResponse)
		if ok {
			require.NoError(t, wantErr)
			require.True(t, isNotification)
			require.Equal(t, n.Channel, string(channel))
			require.Equal(t, n.Payload, string(payload))
		}
		if wantErr == nil && isNotification {
			require.NoError(t, err)
			require.True(t, ok)
		}
	})
}
