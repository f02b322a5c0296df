package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// State says how the action fares that a frame reports on.
type State string

// The states. A client takes Queued and Running as progress, Success as the
// end of what it asked for and Failed as its failure.
const (
	Acknowledged State = "a" // received, and valid so far
	Queued       State = "q" // waits for a worker
	Running      State = "r" // a worker is on it; sent again for progress
	Success      State = "s"
	Failed       State = "f"
)

// MaxTraceID is the longest trace id, in characters.
const MaxTraceID = 20

// Frame is an outgoing message as it goes over the wire: one JSON object with
// the keys t, p, i and s, all of them always there, null where empty.
type Frame struct {
	// Type is the message's name in its registry, such as "user.details".
	Type string
	// Payload is encoded as JSON, and must give an object or null.
	Payload any
	// TraceID is what the client sent with the request that caused this frame;
	// empty when none did. At most MaxTraceID characters.
	TraceID string
	// State is empty for a message that reports on no action.
	State State
}

// Encode returns the frame's bytes. It returns an error when the frame has no
// type, an unknown state or a trace id that is too long, and when the payload
// gives no JSON object.
func (f Frame) Encode() ([]byte, error) {
	switch f.State {
	case "", Acknowledged, Queued, Running, Success, Failed:
	default:
		return nil, fmt.Errorf("frame %q: unknown state %q", f.Type, f.State)
	}
	switch {
	case f.Type == "":
		return nil, errors.New("a frame needs a type")
	case utf8.RuneCountInString(f.TraceID) > MaxTraceID:
		return nil, fmt.Errorf("frame %q: the trace id has more than %d characters", f.Type, MaxTraceID)
	}
	payload, err := encode(f.Payload)
	if err != nil {
		return nil, fmt.Errorf("frame %q: encode its payload: %w", f.Type, err)
	}
	if payload[0] != '{' && string(payload) != "null" {
		return nil, fmt.Errorf("frame %q: its payload, a %T, is neither a JSON object nor null", f.Type, f.Payload)
	}
	return encode(struct {
		Type    string          `json:"t"`
		Payload json.RawMessage `json:"p"`
		TraceID *string         `json:"i"`
		State   *State          `json:"s"`
	}{f.Type, payload, orNull(f.TraceID), orNull(f.State)})
}

func orNull[S ~string](s S) *S {
	if s == "" {
		return nil
	}
	return &s
}

// encode is json.Marshal without the escapes that only HTML needs.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
