package command_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/plugin/command"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 30 * time.Second

type Parcel struct {
	ID   int64
	City string
}

// output is what a command prints, readable while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	line chan string // each complete line
}

func newOutput() *output { return &output{line: make(chan string, 100)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	for l := range strings.Lines(string(p)) {
		select {
		case o.line <- strings.TrimSuffix(l, "\n"):
		default: // a long script, which nobody reads by lines
		}
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) next(t *testing.T) string {
	t.Helper()
	select {
	case l := <-o.line:
		return l
	case <-time.After(limit):
		require.FailNow(t, "the command printed nothing")
		return ""
	}
}

// bundle is a database with declarations, and the commands on it.
type bundle struct {
	db  *gorm.DB
	got chan string
}

func setup(t *testing.T, opts ...pubsubtest.Option) bundle {
	t.Helper()
	r := hooks.NewRegistry()
	b := bundle{got: make(chan string, 100)}
	h := func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[Parcel]) error {
		b.got <- p.Op.String() + " " + p.New.City
		return nil
	}
	hooks.OnInsert(&Parcel{}, h, hooks.In(r), hooks.Broadcast())
	hooks.OnUpdate(&Parcel{}, h, hooks.In(r), hooks.Broadcast(), hooks.Channel("moved"))
	b.db = pubsubtest.Open(t, append(opts, pubsubtest.Registry(r))...)
	return b
}

// create creates the table without its triggers.
func (b bundle) create(t *testing.T) {
	t.Helper()
	require.NoError(t, b.db.Exec("CREATE TABLE parcels (id bigserial PRIMARY KEY, city text)").Error)
}

// open is the application's, with a new pool of its own for each command.
func (b bundle) open(t *testing.T) command.Open {
	t.Helper()
	called := 0
	return func(context.Context) (*pubsub.Plugin, error) {
		called++
		require.Equal(t, 1, called, "Open is called once")
		return pubsubtest.Of(t, b.db), nil
	}
}

func root(open command.Open) *cobra.Command {
	c := &cobra.Command{Use: "app", SilenceErrors: true, SilenceUsage: true}
	c.AddCommand(command.New(open))
	return c
}

// run runs "app pubsub args…".
func (b bundle) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c, out := root(b.open(t)), newOutput()
	c.SetArgs(append([]string{"pubsub"}, args...))
	c.SetOut(out)
	c.SetErr(out)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// start runs "app pubsub listen args…" in the background.
func (b bundle) start(t *testing.T, args ...string) (out *output, stop func() error) {
	t.Helper()
	c, out := root(b.open(t)), newOutput()
	c.SetArgs(append([]string{"pubsub", "listen"}, args...))
	c.SetOut(out)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.ExecuteContext(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(limit):
			return errors.New("the command goes on")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return out, stop
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		require.FailNow(t, "nothing came")
		return ""
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	c := command.New(nil)
	require.Equal(t, "pubsub", c.Name())
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
		require.NotEmpty(t, sub.Short)
	}
	require.ElementsMatch(t, []string{"listen", "migrate", "channels", "status", "dead", "redrive", "pause", "resume", "rename"}, names)

	// At the top of an application's own.
	top := &cobra.Command{Use: "app"}
	top.AddCommand(command.New(nil).Commands()...)
	found, _, err := top.Find([]string{"listen"})
	require.NoError(t, err)
	require.Equal(t, "app listen", found.CommandPath())
}

func TestArguments(t *testing.T) {
	t.Parallel()
	never := func(context.Context) (*pubsub.Plugin, error) { return nil, errors.New("opened all the same") }
	for name, args := range map[string][]string{
		"ListenArgument":    {"listen", "author_insert"},
		"MigrateArgument":   {"migrate", "all"},
		"ChannelsArgument":  {"channels", "x"},
		"SQLAndCheck":       {"migrate", "--sql", "--check"},
		"SQLAndPrune":       {"migrate", "--sql", "--prune"},
		"CheckAndPrune":     {"migrate", "--check", "--prune"},
		"UnknownFlag":       {"migrate", "--dry-run"},
		"ChannelWithoutOne": {"listen", "--channel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := root(never)
			c.SetArgs(append([]string{"pubsub"}, args...))
			c.SetOut(newOutput())
			c.SetErr(newOutput())
			err := c.ExecuteContext(t.Context())
			require.Error(t, err)
			require.NotContains(t, err.Error(), "opened all the same")
		})
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	errNo := errors.New("no database today")
	for _, name := range []string{"listen", "migrate", "channels"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := root(func(context.Context) (*pubsub.Plugin, error) { return nil, errNo })
			c.SetArgs([]string{"pubsub", name})
			c.SetOut(newOutput())
			require.ErrorIs(t, c.ExecuteContext(t.Context()), errNo)
		})
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	b := setup(t, pubsubtest.Models(&Parcel{}))
	out, stop := b.start(t)
	require.Equal(t, "listening on moved, parcels_insert", out.next(t))
	// What is written once that is printed arrives.
	require.NoError(t, b.db.Exec("INSERT INTO parcels (city) VALUES ('Rome')").Error)
	require.NoError(t, b.db.Exec("UPDATE parcels SET city = 'Oslo'").Error)
	require.ElementsMatch(t, []string{"insert Rome", "update Oslo"}, []string{next(t, b.got), next(t, b.got)})
	require.NoError(t, stop())
	require.Error(t, pubsubtest.Of(t, b.db).Health().Err())
	require.Equal(t, "listening on moved, parcels_insert\n", out.String())
}

func TestListenOnSomeChannels(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"Long": {"--channel", "moved"}, "Short": {"-c", "moved"}, "Joined": {"--channel=moved"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, pubsubtest.Models(&Parcel{}))
			out, stop := b.start(t, args...)
			require.Equal(t, "listening on moved", out.next(t))
			require.NoError(t, b.db.Exec("INSERT INTO parcels (city) VALUES ('Rome')").Error)
			require.NoError(t, b.db.Exec("UPDATE parcels SET city = 'Oslo'").Error)
			require.Equal(t, "update Oslo", next(t, b.got))
			require.NoError(t, stop())
			require.Empty(t, b.got)
		})
	}
	t.Run("Both", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pubsubtest.Models(&Parcel{}))
		out, stop := b.start(t, "-c", "moved", "-c", "parcels_insert")
		line := out.next(t)
		require.Contains(t, line, "moved")
		require.Contains(t, line, "parcels_insert")
		require.NoError(t, stop())
	})
	t.Run("WithAComma", func(t *testing.T) { // a channel's name may have one
		t.Parallel()
		b := setup(t, pubsubtest.Models(&Parcel{}))
		out, err := b.run(t, "listen", "-c", "moved,parcels_insert")
		require.ErrorIs(t, err, listener.ErrUnknownChannel)
		require.ErrorContains(t, err, `"moved,parcels_insert"`)
		require.Empty(t, out)
	})
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	t.Run("UnknownChannel", func(t *testing.T) {
		t.Parallel()
		out, err := setup(t, pubsubtest.Models(&Parcel{})).run(t, "listen", "--channel", "nope")
		require.ErrorIs(t, err, listener.ErrUnknownChannel)
		require.ErrorContains(t, err, "moved, parcels_insert")
		require.Empty(t, out, "it must not say that it listens")
	})
	t.Run("NoTable", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		out, err := b.run(t, "listen")
		require.ErrorIs(t, err, triggers.ErrNotMigrated)
		require.Empty(t, out)
		require.ErrorIs(t, pubsubtest.Of(t, b.db).Migrate(t.Context()), triggers.ErrNoTable)
		out, err = b.run(t, "listen")
		require.ErrorIs(t, err, triggers.ErrNoTable)
		require.Empty(t, out)
	})
	t.Run("NothingDeclared", func(t *testing.T) {
		t.Parallel()
		b := bundle{db: pubsubtest.Open(t, pubsubtest.Registry(hooks.NewRegistry()))}
		require.NoError(t, pubsubtest.Of(t, b.db).Migrate(t.Context()))
		_, err := b.run(t, "listen")
		require.ErrorIs(t, err, listener.ErrNothingDeclared)
	})
}

// The end of the context is a clean end, whatever the command is about.
func TestListenIsStoppedEarly(t *testing.T) {
	t.Parallel()
	t.Run("BeforeItStarts", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pubsubtest.Models(&Parcel{}))
		c := root(b.open(t))
		c.SetArgs([]string{"pubsub", "listen"})
		c.SetOut(newOutput())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, c.ExecuteContext(ctx))
	})
	t.Run("WhileTheDatabaseIsOpened", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		c := root(func(ctx context.Context) (*pubsub.Plugin, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		})
		c.SetArgs([]string{"pubsub", "listen"})
		c.SetOut(newOutput())
		require.NoError(t, c.ExecuteContext(ctx))
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.create(t)
	p := pubsubtest.Of(t, b.db)

	out, err := b.run(t, "migrate", "--check")
	require.ErrorIs(t, err, triggers.ErrNotMigrated)
	require.NotContains(t, out, "everything is up to date")

	script, err := b.run(t, "migrate", "--sql")
	require.NoError(t, err)
	want, err := p.SQL(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, script)
	require.Contains(t, script, "CREATE OR REPLACE TRIGGER")
	require.ErrorIs(t, p.Verify(t.Context()), triggers.ErrNotMigrated, "--sql must change nothing")

	out, err = b.run(t, "migrate")
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(out, "installed: "), out)
	require.Contains(t, out, `"moved"`)
	require.Contains(t, out, `"public"."parcels"`)
	require.NoError(t, p.Verify(t.Context()))

	for _, args := range [][]string{{"migrate"}, {"migrate", "--check"}, {"migrate", "--prune"}} {
		out, err = b.run(t, args...)
		require.NoError(t, err)
		require.Equal(t, "everything is up to date\n", out, args)
	}
	out, err = b.run(t, "migrate", "--sql")
	require.NoError(t, err)
	require.Empty(t, out)

	plan, err := p.Plan(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.db.Exec("DROP TRIGGER "+plan.Items[0].Trigger+" ON parcels").Error)
	_, err = b.run(t, "migrate", "--check")
	require.ErrorIs(t, err, triggers.ErrDrift)
	require.ErrorContains(t, err, "missing")
	out, err = b.run(t, "migrate")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "installed: "), out)
	require.NoError(t, p.Disable(t.Context(), "moved"))
	_, err = b.run(t, "migrate", "--check")
	require.ErrorContains(t, err, "disabled")
}

func TestMigrateByHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.create(t)
	script, err := b.run(t, "migrate", "--sql")
	require.NoError(t, err)
	pool, err := b.db.DB()
	require.NoError(t, err)
	_, err = pool.ExecContext(t.Context(), script)
	require.NoError(t, err)
	out, err := b.run(t, "migrate", "--check")
	require.NoError(t, err)
	require.Equal(t, "everything is up to date\n", out)
}

func TestMigratePrune(t *testing.T) {
	t.Parallel()
	b := setup(t, pubsubtest.Models(&Parcel{}))
	p := pubsubtest.Of(t, b.db)
	// A former version of the application had one declaration more.
	former := []triggers.Definition{{Channel: "former", Table: "parcels", Ops: triggers.Delete}}
	_, err := triggers.Installer{}.Apply(t.Context(), b.db, former)
	require.NoError(t, err)

	out, err := b.run(t, "migrate")
	require.NoError(t, err)
	require.Contains(t, out, `orphaned: trigger "pubsub_former_delete" on "public"."parcels"`)
	require.Contains(t, out, "migrate --prune")
	_, err = b.run(t, "migrate", "--check")
	require.NoError(t, err, "an orphan is no drift")

	out, err = b.run(t, "migrate", "--prune")
	require.NoError(t, err)
	require.Contains(t, out, `dropped: trigger "pubsub_former_delete" on "public"."parcels"`)
	plan, err := p.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan.Orphans())
	require.NoError(t, p.Verify(t.Context()))
}

func TestMigrateFails(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"migrate"}, {"migrate", "--sql"}, {"migrate", "--check"}, {"migrate", "--prune"}} {
		t.Run(strings.Join(args, ""), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			require.ErrorIs(t, pubsubtest.Of(t, b.db).Migrate(t.Context()), triggers.ErrNoTable)
			out, err := b.run(t, args...)
			require.ErrorIs(t, err, triggers.ErrNoTable)
			require.Empty(t, out)
		})
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	b := setup(t, pubsubtest.Models(&Parcel{}))
	out, err := b.run(t, "channels")
	require.NoError(t, err)
	require.Equal(t, [][]string{
		{"CHANNEL", "LISTENERS", "PID", "APPLICATION", "ADDRESS", "SINCE"}, {"moved", "0"}, {"parcels_insert", "0"},
	}, fields(out))

	_, stop := b.start(t, "-c", "moved")
	select {
	case <-pubsubtest.Of(t, b.db).Ready():
	case <-time.After(limit):
		require.FailNow(t, "not ready")
	}
	out, err = b.run(t, "channels")
	require.NoError(t, err)
	lines := fields(out)
	require.Len(t, lines, 4, out)
	require.Equal(t, []string{"moved", "1"}, lines[1])
	sessions, err := pubsubtest.Of(t, b.db).Listeners(t.Context(), "moved")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	require.Contains(t, out, sessions[0].Application)
	require.Contains(t, out, sessions[0].Since.Format(time.DateTime))
	require.WithinDuration(t, time.Now(), sessions[0].Since, time.Minute)
	require.Equal(t, []string{"parcels_insert", "0"}, lines[3])

	require.NoError(t, stop())
	require.Eventually(t, func() bool { // the session ends after the command
		out, err = b.run(t, "channels")
		return err == nil && len(fields(out)) == 3
	}, limit, 10*time.Millisecond)
}

func fields(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		all = append(all, strings.Fields(line))
	}
	return all
}
