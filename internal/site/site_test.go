package site_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gorm-pubsub/pubsub/internal/site"
)

type mailer struct{}

func (mailer) Welcome()  {}
func (*mailer) Goodbye() {}

func plain()          {}
func generic[T any]() {}

func TestFunc(t *testing.T) {
	t.Parallel()
	inner := func() {}
	for name, c := range map[string]struct {
		f      any
		want   string
		stable bool
	}{
		"Plain":         {plain, "plain", true},
		"Method":        {mailer{}.Welcome, "mailer.Welcome", true},
		"PointerMethod": {(&mailer{}).Goodbye, "mailer.Goodbye", true},
		"Generic":       {generic[int], "generic", true},
		"Literal":       {inner, "TestFunc.func1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, stable := site.Func(c.f)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.stable, stable)
		})
	}
}

func TestCallerNamesFileAndLine(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `^site/site_test\.go:\d+$`, site.Caller())
}
