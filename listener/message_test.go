package listener

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/triggers"
)

func TestParse(t *testing.T) {
	t.Parallel()
	arrived := time.Now()
	at := time.UnixMicro(1_700_000_000_000_001)
	foreign := func(payload string) Message { return Message{Channel: "c", At: arrived, Data: payload} }
	for payload, want := range map[string]Message{
		`{"pubsub":7,"at":1700000000000001,"op":"insert","rows":[{"a":1}]}`: {Channel: "c", ID: 7, At: at, Op: triggers.Insert, Data: `[{"a":1}]`},
		`{"pubsub":7,"at":1700000000000001,"op":"truncate","rows":[null]}`:  {Channel: "c", ID: 7, At: at, Op: triggers.Truncate, Data: `[null]`},
		`{"pubsub":7,"at":1700000000000001,"op":"update","lost":"why"}`:     {Channel: "c", ID: 7, At: at, Op: triggers.Update, lost: `"why"`},
		`{"pubsub":7,"at":1700000000000001,"data":{"a":1}}`:                 {Channel: "c", ID: 7, At: at, Data: `{"a":1}`},
		`{"pubsub":7,"stored":true}`:                                        {Channel: "c", ID: 7, stored: true},
		``:                                                                  foreign(``),
		`{"a":1}`:                                                           foreign(`{"a":1}`),
		`{"pubsub":`:                                                        foreign(`{"pubsub":`),
		`{"pubsub":true}`:                                                   foreign(`{"pubsub":true}`),
		`{"pubsub":1}`:                                                      foreign(`{"pubsub":1}`),
		`{"pubsub":1,"at":x}`:                                               foreign(`{"pubsub":1,"at":x}`),
		`{"pubsub":1,"at":2,"op":"x"}`:                                      foreign(`{"pubsub":1,"at":2,"op":"x"}`),
		`{"pubsub":1,"at":2,"op":"insert"}`:                                 foreign(`{"pubsub":1,"at":2,"op":"insert"}`),
		`{"pubsub":1,"at":2,"op":"insert`:                                   foreign(`{"pubsub":1,"at":2,"op":"insert`),
		`{"pubsub":99999999999999999999,"a"`:                                foreign(`{"pubsub":99999999999999999999,"a"`),
		`{"pubsub":1,"at":2,"unknown":true}`:                                foreign(`{"pubsub":1,"at":2,"unknown":true}`),
	} {
		want.Arrived = arrived
		require.Equal(t, want, parse("c", payload, arrived), payload)
	}
}

// FuzzParse holds that a frame is read as it was written, and that a payload
// that isn't ours is passed on as it is.
func FuzzParse(f *testing.F) {
	f.Add(`{"pubsub":7,"at":1,"op":"insert","rows":[{"a":1}]}`, uint32(1), `{"a":1}`)
	f.Add(`{"pubsub":7,"stored":true}`, uint32(0), `"x"`)
	f.Add(`{"pubsub":7,"at":3,"data":"x"}`, uint32(9), `}`)
	f.Fuzz(func(t *testing.T, payload string, id uint32, data string) {
		m := parse("c", payload, time.Time{})
		require.Contains(t, payload, m.Data)
		if !strings.HasPrefix(payload, `{"pubsub":`) {
			require.Equal(t, Message{Channel: "c", Data: payload}, m)
		}
		at := time.UnixMicro(int64(id))
		value := fmt.Sprintf(`{"pubsub":%d,"at":%d,"data":%s}`, id, id, data)
		require.Equal(t, Message{Channel: "c", ID: int64(id), At: at, Data: data}, parse("c", value, time.Time{}))
		rows := fmt.Sprintf(`{"pubsub":%d,"at":%d,"op":"delete","rows":%s}`, id, id, data)
		require.Equal(t, Message{Channel: "c", ID: int64(id), At: at, Op: triggers.Delete, Data: data}, parse("c", rows, time.Time{}))
	})
}
