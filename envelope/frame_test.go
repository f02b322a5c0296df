package envelope_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gorm-pubsub/pubsub/envelope"
)

func TestFrameBytes(t *testing.T) {
	t.Parallel()
	type details struct {
		Name string `json:"name"`
	}
	for name, c := range map[string]struct {
		frame envelope.Frame
		want  string
	}{
		"Pong":    {envelope.Frame{Type: "s.pong", TraceID: "a", State: envelope.Success}, `{"t":"s.pong","p":null,"i":"a","s":"s"}`},
		"Plain":   {envelope.Frame{Type: "user.details", Payload: details{"<Jane & Doe>"}}, `{"t":"user.details","p":{"name":"<Jane & Doe>"},"i":null,"s":null}`},
		"Failed":  {envelope.Frame{Type: "error.job", Payload: map[string]string{"msg": "no"}, State: envelope.Failed}, `{"t":"error.job","p":{"msg":"no"},"i":null,"s":"f"}`},
		"LongID":  {envelope.Frame{Type: "t", TraceID: strings.Repeat("é", 20)}, `{"t":"t","p":null,"i":"` + strings.Repeat("é", 20) + `","s":null}`},
		"NilPtr":  {envelope.Frame{Type: "t", Payload: (*details)(nil)}, `{"t":"t","p":null,"i":null,"s":null}`},
		"NilMap":  {envelope.Frame{Type: "t", Payload: map[string]int(nil)}, `{"t":"t","p":null,"i":null,"s":null}`},
		"Running": {envelope.Frame{Type: "progress.num", Payload: map[string]int{"curr": 1, "total": 3}, State: envelope.Running}, `{"t":"progress.num","p":{"curr":1,"total":3},"i":null,"s":"r"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.frame.Encode()
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
}

func TestFrameRefuses(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string]envelope.Frame{
		"NoType":       {},
		"UnknownState": {Type: "t", State: "x"},
		"LongTraceID":  {Type: "t", TraceID: strings.Repeat("é", 21)},
		"List":         {Type: "t", Payload: []int{1}},
		"Text":         {Type: "t", Payload: "text"},
		"NoJSON":       {Type: "t", Payload: map[string]any{"f": func() {}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := frame.Encode()
			require.Error(t, err)
		})
	}
}
