package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
)

// rowsOf counts the rows of the event table, whatever they stand for.
func rowsOf(t *testing.T, db *gorm.DB) int64 {
	t.Helper()
	return number(t, db, "SELECT count(*) FROM pubsub.event")
}

// requireDrained handles what waits, and fails unless that is n events.
func requireDrained(t *testing.T, db *gorm.DB, n int) {
	t.Helper()
	handled, err := pubsubtest.Of(t, db).Drain(t.Context())
	require.NoError(t, err)
	require.Equal(t, n, handled)
}

// The rows of a large statement are stored in few events, and handled, listed and
// counted one by one.
func TestQueuePackets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hook  func(r *listener.Registry, f hooks.Handler[parcel])
		write []string
		want  int // events
		at    func(p hooks.TriggerPayload[parcel]) *parcel
	}{
		"Insert": {
			func(r *listener.Registry, f hooks.Handler[parcel]) {
				hooks.OnInsert(&parcel{}, f, hooks.In(r), hooks.Name("d"))
			},
			nil, 1000, func(p hooks.TriggerPayload[parcel]) *parcel { return p.New },
		},
		"Update": {
			func(r *listener.Registry, f hooks.Handler[parcel]) {
				hooks.OnUpdate(&parcel{}, f, hooks.In(r), hooks.Name("d"))
			},
			[]string{"UPDATE parcels SET weight = weight + 1"},
			1000, func(p hooks.TriggerPayload[parcel]) *parcel {
				if p.Old.ID != p.New.ID || p.Old.Weight+1 != p.New.Weight {
					return &parcel{}
				}
				return p.New
			},
		},
		"Columns": {func(r *listener.Registry, f hooks.Handler[parcel]) {
			hooks.OnUpdate(&parcel{}, f, hooks.In(r), hooks.Name("d"), hooks.Columns("Weight"))
		}, []string{"UPDATE parcels SET weight = weight + id % 2"}, 500, func(p hooks.TriggerPayload[parcel]) *parcel { return p.New }},
		"When": {func(r *listener.Registry, f hooks.Handler[parcel]) {
			hooks.OnInsert(&parcel{}, f, hooks.In(r), hooks.Name("d"), hooks.When("NEW.id % 4 = 0"))
		}, nil, 250, func(p hooks.TriggerPayload[parcel]) *parcel { return p.New }},
		"Delete": {
			func(r *listener.Registry, f hooks.Handler[parcel]) {
				hooks.OnDelete(&parcel{}, f, hooks.In(r), hooks.Name("d"))
			},
			[]string{"DELETE FROM parcels"},
			1000, func(p hooks.TriggerPayload[parcel]) *parcel { return p.Old },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			seen := map[int64]int64{} // the events' numbers, by the parcels'
			var double, empty []int64
			c.hook(r, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
				row := c.at(p)
				if row.ID == 0 || row.Label == "" {
					empty = append(empty, p.EventID)
				}
				if _, ok := seen[row.ID]; ok {
					double = append(double, row.ID)
				}
				seen[row.ID] = p.EventID
				return nil
			})
			db, _ := taped(t, r, []any{&parcel{}})
			rows := createMany(t, db, labels(1000, "x")...)
			for _, s := range c.write {
				require.NoError(t, db.Exec(s).Error)
			}
			require.Less(t, rowsOf(t, db), int64(c.want/8), "they are packed")
			require.EqualValues(t, c.want, left(t, db, "event"))
			status, err := queueOf(t, db).Status(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, c.want, status[0].Ready)
			waiting := pubsubtest.Events(t, db)
			require.Len(t, waiting, c.want)
			ids := make([]int64, len(waiting))
			for i, e := range waiting {
				ids[i] = e.ID
			}
			require.True(t, slices.IsSorted(ids))
			require.Len(t, slices.Compact(slices.Clone(ids)), c.want, "each has a number of its own")

			requireDrained(t, db, c.want)
			require.Empty(t, double)
			require.Empty(t, empty)
			require.Len(t, seen, c.want)
			if c.want == len(rows) {
				for i, row := range rows {
					require.Equal(t, ids[i], seen[row.ID], "the events are in the order of the rows")
				}
			}
			require.Zero(t, rowsOf(t, db))
		})
	}
}

// A statement of few rows isn't packed, and one of more has an event for each row.
func TestQueuePacketsOfFew(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 7, 8, 9, 10, 63, 64, 65, 73} {
		for _, subscriptions := range []int{1, 3} {
			t.Run(fmt.Sprint(n, "_", subscriptions), func(t *testing.T) {
				t.Parallel()
				r := hooks.NewRegistry()
				var handled atomic.Int64
				for i := range subscriptions {
					onDurableParcel(r, fmt.Sprint("d", i), func(context.Context, *gorm.DB, string) error {
						handled.Add(1)
						return nil
					})
				}
				db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
				createMany(t, db, labels(n, "x")...)
				if n <= 8 {
					require.EqualValues(t, n*subscriptions, rowsOf(t, db))
				}
				require.EqualValues(t, n*subscriptions, left(t, db, "event"))
				requireDrained(t, db, n*subscriptions)
				require.EqualValues(t, n*subscriptions, handled.Load())
			})
		}
	}
}

// Rows of all sizes in one statement, each of which arrives as it was written.
func TestQueuePacketsOfAllSizes(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	got := map[string]int{}
	onDurableParcel(r, "d", func(_ context.Context, _ *gorm.DB, label string) error {
		got[label]++
		return nil
	})
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	var want []string
	for i := range 160 {
		size := []int{1, 10, 100, 1000, 5000, 9000, 70_000, 700_000}[i%8]
		if i%7 == 0 {
			size = 3
		}
		want = append(want, fmt.Sprintf("%d %s \"\\\n☃ [],{}", i, strings.Repeat("ab]\"", size/4)))
	}
	createMany(t, db, want...)
	createMany(t, db, slices.Repeat([]string{strings.Repeat("z", 20_000)}, 20)...)
	require.EqualValues(t, 180, left(t, db, "event"))
	requireDrained(t, db, 180)
	for _, label := range want {
		require.Equal(t, 1, got[label], "a label of %d bytes", len(label))
	}
	requireReceipts(t, db)
}

// A packet's events don't wait for each other when the function takes its time.
func TestQueuePacketsAtOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"InTransaction": nil, "Leased": {hooks.Leased(time.Minute)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const together = 6
			r := hooks.NewRegistry()
			var running sync.WaitGroup
			running.Add(together)
			all := make(chan struct{})
			go func() { running.Wait(); close(all) }()
			var begun atomic.Int64
			hooks.OnInsert(&parcel{}, func(ctx context.Context, _ *gorm.DB, _ hooks.TriggerPayload[parcel]) error {
				if begun.Add(1) <= together {
					running.Done()
				}
				select { // the first are only done when all of them have begun
				case <-all:
				case <-ctx.Done():
				}
				return nil
			}, append(opts, hooks.In(r), hooks.Name("slow"), hooks.Concurrency(together))...)
			db, _ := taped(t, r, []any{&parcel{}})
			createMany(t, db, labels(40, "x")...)
			pubsubtest.Listen(t, db)
			await(t, all)
			drained(t, db)
			require.EqualValues(t, 40, begun.Load())
		})
	}
}

// What a removed subscription has left are dead letters one by one.
func TestQueuePacketsOfNobody(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil })
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	createMany(t, db, labels(100, "x")...)
	require.NoError(t, db.Exec("UPDATE pubsub.event SET subscription_id = 4711").Error)
	pubsubtest.Listen(t, db)
	comesTrue(t, func() bool { return left(t, db, "dead_event") == 100 }, "they are set aside")
	letters := deadLetters(t, db)
	require.Contains(t, letters[50].Payload, `"label":"x50"`)
	require.Zero(t, left(t, db, "event"))
}

// A subscription becomes ordered while packets wait for it.
func TestQueuePacketsBecomeOrdered(t *testing.T) {
	t.Parallel()
	before, after := hooks.NewRegistry(), hooks.NewRegistry()
	nothing := func(context.Context, *gorm.DB, string) error { return nil }
	onDurableParcel(before, "d", nothing)
	onDurableParcel(after, "d", nothing, hooks.Ordered())
	db, _ := taped(t, before, []any{&parcel{}, &receipt{}})
	createMany(t, db, labels(100, "x")...)
	second, _ := another(t, db, after)
	require.NoError(t, pubsubtest.Of(t, second).Migrate(t.Context()))
	createMany(t, db, labels(100, "y")...)
	requireDrained(t, second, 200)
	requireReceipts(t, db)
	require.Zero(t, left(t, db, "event"))
}

// A packet that only the database can take apart, since our reader gives up on it
// earlier.
func TestQueuePacketsNestedDeeply(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, quickly(2))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	createMany(t, db, labels(60, "x")...)
	require.NoError(t, db.Connection(func(tx *gorm.DB) error {
		if err := tx.Exec("SET max_stack_depth = '7MB'").Error; err != nil {
			return err
		}
		deep := strings.Repeat("[", 10_050) + strings.Repeat("]", 10_050)
		return tx.Exec(`UPDATE pubsub.event SET payload = replace(payload::text, '"x30"', ?)::json WHERE packed IS NOT NULL`, deep).Error
	}))
	require.NoError(t, db.Exec("ALTER DATABASE "+quotedDatabase(t, db)+" SET max_stack_depth = '7MB'").Error)
	second, _ := another(t, db, r, pubsub.PollOnly())
	pubsubtest.Listen(t, second)
	drained(t, db)
	requireReceipts(t, db, "x30")
	require.Len(t, deadLetters(t, db), 1)
}

func quotedDatabase(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var name string
	require.NoError(t, db.Raw("SELECT quote_ident(current_database())").Scan(&name).Error)
	return name
}
