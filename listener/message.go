package listener

import (
	"encoding/json"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/row"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// Message is one notification, or one event of the durable queue.
type Message struct {
	// Channel is where it arrived.
	Channel string
	// ID numbers the notifications that this project sends, 0 for others, and
	// the events of the queue, which are numbered apart.
	ID int64
	// Attempt counts the attempts to handle the event, this one included, from
	// 1. It is 0 in a broadcast.
	Attempt int
	// At is when the event was stored or the notification sent, by the
	// database's clock; when it arrived, for notifications of others.
	At time.Time
	// Op is the operation behind a trigger's message, 0 for a typed channel's.
	Op triggers.Op
	// Data is JSON text: a trigger's rows, an array with an element for each
	// event, or a typed channel's value. From the queue it is the one event's. A notification of others' making, such
	// as a NOTIFY typed into psql, is taken for a typed channel's value.
	Data string
	// Generation changes when tables may have changed: what a handler learned
	// of its table under another generation is to be read again.
	Generation int64

	// Pool is what a handler may ask the database through: the transaction that
	// removes the event, which holds a connection already, or the application's.
	Pool gorm.ConnPool
	// Context is what the writer's transaction gave its events to carry.
	Context triggers.EventContext

	// Arrived is when the notification arrived, by this process's clock.
	Arrived time.Time

	stored bool   // Data is in the payload table under ID
	lost   string // why the trigger could not tell what happened, as JSON
}

// parse reads a notification's payload. The frame is ours and written by
// functions in SQL, so that it has one spelling; anything else is a foreign
// payload and becomes Data as it is.
//
//	{"pubsub":1,"at":2,"op":"insert","rows":[…]}
//	{"pubsub":1,"at":2,"context":"{…}","op":"insert","rows":[…]}
//	{"pubsub":1,"at":2,"op":"insert","lost":"…"}
//	{"pubsub":1,"at":2,"data":…}
//	{"pubsub":1,"stored":true}
func parse(channel, payload string, arrived time.Time) Message {
	foreign := Message{Channel: channel, At: arrived, Data: payload, Arrived: arrived}
	m := Message{Channel: channel, Arrived: arrived}
	rest, ok := strings.CutPrefix(payload, `{"pubsub":`)
	if !ok {
		return foreign
	}
	if rest, ok = strings.CutSuffix(rest, "}"); !ok {
		return foreign
	}
	if m.ID, rest, ok = integer(rest); !ok {
		return foreign
	}
	if rest == `,"stored":true` {
		m.stored = true
		return m
	}
	if rest, ok = strings.CutPrefix(rest, `,"at":`); !ok {
		return foreign
	}
	var micros int64
	if micros, rest, ok = integer(rest); !ok {
		return foreign
	}
	m.At = time.UnixMicro(micros)
	if text, ok := strings.CutPrefix(rest, `,"context":`); ok {
		if m.Context, rest, ok = quoted(text); !ok {
			return foreign
		}
	}
	if data, ok := strings.CutPrefix(rest, `,"data":`); ok {
		m.Data = data
		return m
	}
	if rest, ok = strings.CutPrefix(rest, `,"op":"`); !ok {
		return foreign
	}
	name, rest, ok := strings.Cut(rest, `"`)
	if !ok {
		return foreign
	}
	if m.Op, ok = triggers.ParseOp(name); !ok {
		return foreign
	}
	if rows, ok := strings.CutPrefix(rest, `,"rows":`); ok {
		m.Data = rows
		return m
	}
	if m.lost, ok = strings.CutPrefix(rest, `,"lost":`); ok {
		return m
	}
	return foreign
}

// quoted reads the JSON string at the beginning of text.
func quoted(text string) (c triggers.EventContext, rest string, ok bool) {
	end, err := row.Skip(text, 0)
	if err != nil || json.Unmarshal([]byte(text[:end]), &c) != nil {
		return "", text, false
	}
	return c, text[end:], true
}

// integer reads the digits at the beginning of text.
func integer(text string) (n int64, rest string, ok bool) {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		n = n*10 + int64(text[end]-'0')
		end++
	}
	return n, text[end:], end > 0 && end < 19 // 18 digits can't overflow
}
