package tests

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

func failNow() { runtime.Goexit() }

// call is one call of a function.
type call struct {
	attempt int
	event   int64
	at      time.Time
	created time.Time
}

// calls notes the calls for parcels labelled bad and fails them as fail says; the
// others get their receipts.
func calls(r *listener.Registry, name string, fail func(attempt int) error, opts ...hooks.Option) inbox[call] {
	in := newInbox[call]()
	hooks.OnInsert(&parcel{}, func(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		if err := tx.Create(&receipt{ParcelID: p.New.ID}).Error; err != nil {
			return err
		}
		if p.New.Label != "bad" {
			return nil
		}
		in <- call{p.Attempt, p.EventID, time.Now(), p.CreatedAt}
		return fail(p.Attempt)
	}, append([]hooks.Option{hooks.In(r), hooks.Name(name)}, opts...)...)
	return in
}

func TestQueueRetryPauses(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := calls(r, "d", func(int) error { return errors.New("not today") },
		hooks.Retry(listener.RetryPolicy{Attempts: 4, First: 200 * time.Millisecond, Last: 400 * time.Millisecond}))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	pubsubtest.Listen(t, db)
	create(t, db, "good", "bad", "good")
	drained(t, db)
	requireReceipts(t, db, "bad")
	var first, last [5]time.Time
	var event call
	for n := len(in); n > 0; n-- {
		c := in.next(t)
		require.GreaterOrEqual(t, c.attempt, 1)
		require.LessOrEqual(t, c.attempt, 4)
		if first[c.attempt].IsZero() {
			first[c.attempt] = c.at
		}
		last[c.attempt] = c.at
		if event.event == 0 {
			event = c
		}
		require.Equal(t, event.event, c.event, "the event's number is the same in each attempt")
		require.True(t, event.created.Equal(c.created))
	}
	for attempt, pause := range map[int]time.Duration{2: 200, 3: 400, 4: 400} {
		require.False(t, first[attempt].IsZero(), "attempt %d", attempt)
		took := first[attempt].Sub(last[attempt-1])
		require.GreaterOrEqual(t, took, pause*time.Millisecond*9/10-5*time.Millisecond, "before attempt %d", attempt)
		require.Less(t, took, pause*time.Millisecond*11/10+2*time.Second, "before attempt %d", attempt)
	}
	letters := deadLetters(t, db)
	require.Len(t, letters, 1)
	require.Equal(t, event.event, letters[0].ID, "it keeps the event's number")
	require.Equal(t, "d", letters[0].Subscription)
	require.Equal(t, "parcels_insert", letters[0].Channel)
	require.Equal(t, "insert", letters[0].Op)
	require.Equal(t, 4, letters[0].Attempt)
	require.Contains(t, letters[0].Error, "not today")
	require.Empty(t, letters[0].Stack)
	require.Contains(t, letters[0].Payload, `"bad"`)
	require.True(t, letters[0].CreatedAt.Equal(event.created))
	require.True(t, letters[0].DiedAt.After(letters[0].CreatedAt))
}

// RetryPolicy.Attempts is how often the event is handled at the most.
func TestQueueAttemptsBoundTheCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []hooks.Option
		fail error
		most int
	}{
		"One":      {[]hooks.Option{quickly(1)}, errors.New("no"), 1},
		"Three":    {[]hooks.Option{quickly(3)}, errors.New("no"), 3},
		"Discard":  {[]hooks.Option{quickly(3)}, listener.Discard(errors.New("no")), 1},
		"Leased":   {[]hooks.Option{quickly(3), hooks.Leased(time.Minute)}, errors.New("no"), 3},
		"BatchOf1": {[]hooks.Option{quickly(3), hooks.Batch(1)}, errors.New("no"), 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			in := calls(r, "d", func(int) error { return c.fail }, c.opts...)
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
			pubsubtest.Listen(t, db)
			create(t, db, "bad")
			drained(t, db)
			require.Len(t, deadLetters(t, db), 1)
			var attempts []int
			for len(in) > 0 {
				attempts = append(attempts, in.next(t).attempt)
			}
			require.Len(t, attempts, c.most, "the calls' attempts are %v", attempts)
		})
	}
}

func TestQueueDiscardAndRetryAfter(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause")
	require.ErrorIs(t, listener.Discard(cause), cause)
	require.ErrorIs(t, listener.RetryAfter(time.Second, cause), cause)
	for name, c := range map[string]struct {
		fail    func(attempt int) error
		attempt int    // of the letter, 0 for none
		error   string // of the letter
		pause   time.Duration
	}{
		"Discard":        {func(int) error { return listener.Discard(cause) }, 1, "the cause", 0},
		"DiscardNil":     {func(int) error { return listener.Discard(nil) }, 1, "discard", 0},
		"DiscardWrapped": {func(int) error { return fmt.Errorf("around: %w", listener.Discard(cause)) }, 1, "around: the cause", 0},
		"DiscardJoined":  {func(int) error { return errors.Join(errors.New("x"), listener.Discard(cause)) }, 1, "the cause", 0},
		"RetryAfter": {func(attempt int) error {
			if attempt > 1 {
				return nil
			}
			return listener.RetryAfter(300*time.Millisecond, cause)
		}, 0, "", 300 * time.Millisecond},
		"RetryAfterNilAtOnce": {func(attempt int) error {
			if attempt > 1 {
				return nil
			}
			return listener.RetryAfter(-time.Hour, nil)
		}, 0, "", 0},
		"RetryAfterCounts": {func(int) error { return listener.RetryAfter(time.Millisecond, cause) }, 3, "the cause", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			// The policy's own pause would be noticed.
			in := calls(r, "d", c.fail, hooks.Retry(listener.RetryPolicy{Attempts: 3, First: time.Hour, Last: time.Hour}))
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
			pubsubtest.Listen(t, db)
			createMany(t, db, "good", "bad", "good")
			drained(t, db)
			letters := deadLetters(t, db)
			if c.attempt == 0 {
				require.Empty(t, letters)
				requireReceipts(t, db)
				var last call
				for len(in) > 0 {
					next := in.next(t)
					if next.attempt == 2 && last.attempt == 1 {
						require.GreaterOrEqual(t, next.at.Sub(last.at), c.pause-5*time.Millisecond)
						require.Less(t, next.at.Sub(last.at), c.pause+prompt)
					}
					last = next
				}
				require.Equal(t, 2, last.attempt)
				return
			}
			requireReceipts(t, db, "bad")
			require.Len(t, letters, 1)
			require.Equal(t, c.attempt, letters[0].Attempt)
			require.Contains(t, letters[0].Error, c.error)
		})
	}
}

// note has a foreign key that is checked when the transaction commits.
type note struct {
	ID       int64
	ParcelID int64
}

// Whatever a function does to one event, the others are handled, and what their
// functions wrote through tx is there once.
func TestQueueBadOneAmongGoodOnes(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	for name, c := range map[string]struct {
		act   func(ctx context.Context, tx *gorm.DB, id int64) error
		error string // of the letter, which there is one of
		stack string
		opts  []hooks.Option
		fine  bool // it is no failure
		any   bool // a letter or not: the function has broken the rules
	}{
		"Error":          {act: func(context.Context, *gorm.DB, int64) error { return errors.New("not today") }, error: "not today"},
		"EmptyError":     {act: func(context.Context, *gorm.DB, int64) error { return errors.New("") }},
		"Panic":          {act: func(context.Context, *gorm.DB, int64) error { return failInDepth() }, error: "something is broken", stack: "failInDepth"},
		"PanicWithError": {act: func(context.Context, *gorm.DB, int64) error { panic(errors.ErrUnsupported) }, error: "unsupported", stack: "TestQueueBadOneAmongGoodOnes"},
		"NilPointer":     {act: func(context.Context, *gorm.DB, int64) error { var p *parcel; p.Label = ""; return nil }, error: "nil pointer", stack: "TestQueueBadOneAmongGoodOnes"},
		"Goexit":         {act: func(context.Context, *gorm.DB, int64) error { failNow(); return nil }, error: "Goexit"},
		"StatementFails": {act: func(_ context.Context, tx *gorm.DB, _ int64) error { return tx.Exec("SELECT 1/0").Error }, error: "division by zero"},
		"StatementFailsUnnoticed": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			_ = tx.Exec("SELECT 1/0").Error
			return nil
		}},
		"StatementFailsInSavepoint": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			if tx.Transaction(func(tx *gorm.DB) error { return tx.Exec("SELECT 1/0").Error }) == nil {
				return errors.New("it must fail")
			}
			return nil
		}, fine: true},
		"ErrorLeftInSession": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			_ = tx.AddError(errors.New("left behind"))
			return nil
		}, fine: true},
		"DeferredConstraint": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			return tx.Create(&note{ParcelID: -1}).Error
		}, error: "parcel_of_note"},
		"Timeout": {act: func(ctx context.Context, _ *gorm.DB, _ int64) error {
			<-ctx.Done()
			return ctx.Err()
		}, error: "timeout of 100ms", opts: []hooks.Option{hooks.Timeout(100 * time.Millisecond)}},
		"TimeoutInSQL": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			// Postgres may overlook a request to cancel that comes before the query does.
			return tx.Exec("SELECT pg_sleep(5)").Error
		}, error: "timeout of 100ms", opts: []hooks.Option{hooks.Timeout(100 * time.Millisecond)}},
		"TimeoutIgnored": {act: func(ctx context.Context, _ *gorm.DB, _ int64) error {
			<-ctx.Done()
			time.Sleep(50 * time.Millisecond)
			return nil
		}, fine: true, opts: []hooks.Option{hooks.Timeout(100 * time.Millisecond)}},
		"CommitsItself":   {act: func(_ context.Context, tx *gorm.DB, _ int64) error { tx.Commit(); return nil }, any: true},
		"CommitsAndFails": {act: func(_ context.Context, tx *gorm.DB, _ int64) error { tx.Commit(); return errors.New("no") }, any: true},
		"RollsBackItself": {act: func(_ context.Context, tx *gorm.DB, _ int64) error { tx.Rollback(); return nil }, any: true},
		"SessionIsEnded": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			return tx.Exec("SELECT pg_terminate_backend(pg_backend_pid())").Error
		}, error: "57P01"},
		"ReadOnly": {act: func(_ context.Context, tx *gorm.DB, _ int64) error {
			return tx.Exec("SET TRANSACTION READ ONLY").Error
		}, any: true},
		"NULInError":     {act: func(context.Context, *gorm.DB, int64) error { return errors.New("a\x00b") }, error: "b"},
		"InvalidUTF8":    {act: func(context.Context, *gorm.DB, int64) error { return errors.New("a\xff\xfeb\xc3") }, error: "b"},
		"InvalidInPanic": {act: func(context.Context, *gorm.DB, int64) error { panic("a\xff\x00b") }, error: "b", stack: "TestQueueBadOne"},
		"EnormousError":  {act: func(context.Context, *gorm.DB, int64) error { return errors.New(strings.Repeat("€", 3<<20)) }, error: "€€€"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			hooks.OnInsert(&parcel{}, func(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				if err := tx.Create(&receipt{ParcelID: p.New.ID}).Error; err != nil {
					return err
				}
				if p.New.Label == "bad" {
					return c.act(ctx, tx, p.New.ID)
				}
				return nil
			}, append(c.opts, hooks.In(r), hooks.Name("d"), quickly(2))...)
			db, log := taped(t, r, []any{&parcel{}, &receipt{}, &note{}})
			require.NoError(t, db.Exec("ALTER TABLE notes ADD CONSTRAINT parcel_of_note FOREIGN KEY (parcel_id) REFERENCES parcels DEFERRABLE INITIALLY DEFERRED").Error)
			createMany(t, db, append(append(labels(40, "before"), "bad"), labels(60, "after")...)...)
			pubsubtest.Listen(t, db)
			drained(t, db)
			letters := deadLetters(t, db)
			switch {
			case c.any:
				require.NoError(t, db.Exec("DELETE FROM receipts WHERE parcel_id IN (SELECT id FROM parcels WHERE label = 'bad')").Error)
				requireReceipts(t, db, "bad")
			case c.fine:
				require.Empty(t, letters)
				requireReceipts(t, db)
			default:
				requireReceipts(t, db, "bad")
				require.Len(t, letters, 1)
				require.Equal(t, 2, letters[0].Attempt)
				require.Contains(t, letters[0].Error, c.error)
				require.Contains(t, letters[0].Stack, c.stack)
				require.True(t, utf8.ValidString(letters[0].Error))
				require.NotContains(t, log.String(), `"label"`, "payloads are never logged")
			}
			create(t, db, "one more") // everything still works
			drained(t, db)
			require.EqualValues(t, 1, number(t, db, "SELECT count(*) FROM receipts r JOIN parcels p ON p.id = r.parcel_id WHERE p.label = 'one more'"))
		})
	}
}

// A function that never returns keeps its own place only.
func TestQueueFunctionThatNeverReturns(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	release := make(chan struct{})
	entered := newInbox[string]()
	onDurableParcel(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
		if label == "stuck" {
			entered <- label
			<-release
		}
		return nil
	}, hooks.Concurrency(2), hooks.Timeout(100*time.Millisecond))
	other := newInbox[string]()
	onParcelDurably(r, "other", other.put)
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	pubsubtest.Listen(t, db)
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	create(t, db, "stuck")
	entered.next(t)
	createMany(t, db, labels(100, "x")...)
	other.take(t, 101)
	comesTrue(t, func() bool { return receipts(t, db) == 100 }, "the other worker handles the rest")
	letGo()
	drained(t, db)
	requireReceipts(t, db)
}

func TestQueueUndecodable(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{
		"Null": `null`, "Number": `5`, "Text": `"x"`, "Array": `[]`, "Pair": `[{"id":1},{"id":2}]`, "Truth": `true`, "Nested": `{"id":{"id":[]}}`,
		"WrongType": `{"id":"seven","label":"x","weight":1}`, "TooLarge": `{"id":1e400,"label":"x","weight":1}`, "ArrayOfNull": `[null,null]`,
		"Deep": strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, quickly(3))
			db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
			createMany(t, db, append(append(labels(20, "a"), "bad"), labels(20, "b")...)...)
			spoil(t, db, payload, "bad")
			pubsubtest.Listen(t, db)
			drained(t, db)
			requireReceipts(t, db, "bad")
			letters := deadLetters(t, db)
			require.Len(t, letters, 1)
			require.Equal(t, 1, letters[0].Attempt, "it is not tried again")
			require.NotEmpty(t, letters[0].Error)
			require.Equal(t, payload, letters[0].Payload)
		})
	}
}

// Events that were stored before the table or the model changed.
func TestQueueOldEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		alter            []string
		missing, unknown []string
		dead             bool
		label            string
	}{
		"Dropped":         {[]string{"ALTER TABLE parcels DROP COLUMN weight"}, nil, nil, false, "old"},
		"Added":           {[]string{"ALTER TABLE parcels ADD COLUMN extra text DEFAULT 'x'"}, nil, nil, false, "old"},
		"Renamed":         {[]string{"ALTER TABLE parcels RENAME weight TO mass"}, nil, nil, false, "old"},
		"RenamedAndBack":  {[]string{"ALTER TABLE parcels RENAME label TO name", "INSERT INTO parcels (name, weight) VALUES ('y', 1)", "ALTER TABLE parcels RENAME name TO label"}, nil, nil, false, "old"},
		"Recreated":       {[]string{"ALTER TABLE parcels DROP COLUMN label", "ALTER TABLE parcels ADD COLUMN label text"}, nil, nil, false, "old"},
		"TypeNoLongerFit": {[]string{"UPDATE pubsub.event SET payload = '{\"id\":1,\"label\":\"old\",\"weight\":\"heavy\"}' WHERE payload->>'label' = 'old'"}, nil, nil, true, ""},
		"ColumnTypeText":  {[]string{"ALTER TABLE parcels ALTER weight TYPE text"}, nil, nil, false, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			got := newInbox[hooks.TriggerPayload[parcel]]()
			hooks.OnInsert(&parcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				got <- p
				return nil
			}, hooks.In(r), hooks.Name("d"), quickly(2))
			db, _ := taped(t, r, []any{&parcel{}})
			require.NoError(t, db.Create(&parcel{Label: "old", Weight: 7}).Error)
			for _, s := range c.alter {
				require.NoError(t, db.Exec(s).Error, s)
			}
			require.NoError(t, db.Exec("INSERT INTO parcels DEFAULT VALUES").Error)
			pubsubtest.Listen(t, db)
			drained(t, db)
			if c.dead {
				require.Len(t, deadLetters(t, db), 1)
				require.Zero(t, got.next(t).New.Weight)
				return
			}
			require.Empty(t, deadLetters(t, db))
			p := got.next(t)
			require.Equal(t, c.label, p.New.Label)
			require.EqualValues(t, 7, p.New.Weight)
			require.Empty(t, p.Missing())
			require.Empty(t, p.Unknown())
		})
	}
}

// wideParcel reads the parcels' table with a column more and one less.
type wideParcel struct {
	ID     int64
	Label  string
	Colour string `gorm:"default:'none'"`
}

func (wideParcel) TableName() string { return "parcels" }

func TestQueueOldEventsNewModel(t *testing.T) {
	t.Parallel()
	before, after := hooks.NewRegistry(), hooks.NewRegistry()
	onDurableParcel(before, "d", func(context.Context, *gorm.DB, string) error { return nil })
	db, _ := taped(t, before, []any{&parcel{}, &receipt{}})
	require.NoError(t, db.Create(&parcel{Label: "old", Weight: 7}).Error)
	got := newInbox[hooks.TriggerPayload[wideParcel]]()
	hooks.OnInsert(&wideParcel{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[wideParcel]) error {
		got <- p
		return nil
	}, hooks.In(after), hooks.Name("d"))
	second, _ := another(t, db, after)
	require.NoError(t, second.Exec("ALTER TABLE parcels DROP COLUMN weight, ADD COLUMN colour text").Error)
	require.NoError(t, pubsubtest.Of(t, second).Migrate(t.Context()))
	require.NoError(t, second.Create(&wideParcel{Label: "new", Colour: "red"}).Error)
	pubsubtest.Listen(t, second)
	p := got.next(t)
	require.Equal(t, "old", p.New.Label)
	require.Empty(t, p.New.Colour)
	require.Equal(t, []string{"colour"}, p.Missing())
	require.Equal(t, []string{"weight"}, p.Unknown())
	p = got.next(t)
	require.Equal(t, "red", p.New.Colour)
	require.Empty(t, p.Missing())
	require.Empty(t, p.Unknown())
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
}

// A pool of one connection is enough for one worker, also when the table has to be
// looked at again.
func TestQueueWithASmallPool(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil })
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	second, _ := another(t, db, r)
	pool, err := second.DB()
	require.NoError(t, err)
	pool.SetMaxOpenConns(1)
	pubsubtest.Listen(t, second)
	createMany(t, db, labels(50, "a")...)
	drained(t, db)
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context())) // tells that tables may have changed
	createMany(t, db, labels(50, "b")...)
	drained(t, db)
	requireReceipts(t, db)
}
