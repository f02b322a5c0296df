package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	"github.com/gorm-pubsub/pubsub/tests/pubsubtest"
	"github.com/gorm-pubsub/pubsub/triggers"
)

const rowOps = triggers.Insert | triggers.Update | triggers.Delete

// recordDurably declares a durable listener on what happens to M.
func recordDurably[M any](r *listener.Registry, ops triggers.Op, line func(op triggers.Op, before, after *M) string, opts ...hooks.Option) events {
	seen := make(events, 100_000)
	hooks.On(new(M), ops, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[M]) error {
		seen <- line(p.Op, p.Old, p.New)
		return nil
	}, append([]hooks.Option{hooks.In(r), hooks.Name(fmt.Sprintf("record %T", *new(M)))}, opts...)...)
	return seen
}

// What the application wrote fails in the trigger: the write goes on, and its rows
// are among the dead letters.
func TestQueueWriterSurvivesItsCondition(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	var mu sync.Mutex
	var got []string
	take := func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[parcel]) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(p.Op, " ", p.New.Weight))
		return nil
	}
	hooks.OnInsert(&parcel{}, take, hooks.In(r), hooks.Name("divided"), hooks.When("10 / NEW.weight > 1"))
	hooks.OnUpdate(&parcel{}, take, hooks.In(r), hooks.Name("columns"), hooks.Columns("label"))
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	conn := writerSession(t, db)
	write(t, conn,
		"INSERT INTO parcels (label, weight) VALUES ('good', 2)",
		"INSERT INTO parcels (label, weight) VALUES ('bad', 0)",
		"INSERT INTO parcels (label, weight) VALUES ('no', 100)",
		"BEGIN", "INSERT INTO parcels (label, weight) VALUES ('worse', 0)", "INSERT INTO parcels (label, weight) VALUES ('better', 3)", "COMMIT",
		"UPDATE parcels SET label = 'other' WHERE weight = 2",
		"UPDATE parcels SET weight = 4 WHERE weight = 2",
		"ALTER TABLE parcels DROP COLUMN label",
		"UPDATE parcels SET weight = 5 WHERE weight = 4")
	drained(t, db)
	mu.Lock()
	slices.Sort(got)
	require.Equal(t, []string{"insert 2", "insert 3", "update 2"}, got)
	mu.Unlock()
	require.EqualValues(t, 5, number(t, db, "SELECT count(*) FROM parcels"))
	letters := deadLetters(t, db)
	require.Len(t, letters, 3)
	for _, l := range letters {
		require.NotEmpty(t, l.Error)
		require.Equal(t, 1, l.Attempt)
	}
	require.Contains(t, letters[0].Error, "22012")
	require.Contains(t, letters[0].Payload, `"bad"`)
	require.Equal(t, "columns", letters[2].Subscription)
	require.Contains(t, letters[2].Error, "42703")
	require.Contains(t, letters[2].Payload, `"weight":5`)
}

// oddTable has columns that are called like our own.
type oddTable struct {
	ID                 int64
	Old                string
	New                string
	Item               string
	Items              string
	Size               int
	S                  string
	E                  string
	Op                 string
	Key                int
	Payload            string
	Context            string
	Channel            string
	Name               string
	Ordered            bool
	Broadcast          bool
	Error              string
	SubscriptionID     int
	PubsubSubscription string
	OldRows            string
	NewRows            string
	Select             string
	Quote              string `gorm:"column:a\"b'c"`
	Ctid2              string
	Column             string `gorm:"column:$pubsub$"`
}

func TestQueueWriterWithOddColumns(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{
		"Plain": nil, "Ordered": {hooks.Ordered()},
		"When": {hooks.When(`COALESCE(NEW.old, OLD.new) IS NOT NULL AND COALESCE(NEW.item, OLD.item) <> 'no'`), hooks.Columns("Old", "size", "pubsub_subscription", "id")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			seen := recordDurably(r, rowOps, func(op triggers.Op, before, after *oddTable) string {
				text, err := json.Marshal([]*oddTable{before, after})
				return op.String() + string(text) + fmt.Sprint(err)
			}, opts...)
			db, _ := taped(t, r, []any{&oddTable{}})
			pubsubtest.Listen(t, db)
			row := oddTable{Old: "o", New: "n", Item: "i", Size: 7, S: "s", PubsubSubscription: "p", Quote: "q", Column: "$pubsub$", Op: "insert", Key: 3, Name: "x", Error: "e", Channel: "c"}
			show := func(op string, before, after *oddTable) string {
				text, err := json.Marshal([]*oddTable{before, after})
				return op + string(text) + fmt.Sprint(err)
			}
			require.NoError(t, db.Create(&row).Error)
			changed := row
			changed.Size, changed.Old = 8, "O"
			require.NoError(t, db.Save(&changed).Error)
			require.NoError(t, db.Delete(&changed).Error)
			require.Equal(t, []string{show("insert", nil, &row), show("update", &row, &changed), show("delete", &changed, nil)}, seen.take(t, 3))
			drained(t, db)
			require.Empty(t, deadLetters(t, db))
		})
	}
}

// aliasTable has columns that are called as our triggers call its rows.
type aliasTable struct {
	ID     int64
	OldRow string `gorm:"column:pubsub old row"`
	NewRow string `gorm:"column:pubsub new row"`
	N      int
}

func TestQueueWriterWithOurAliases(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Columns": {hooks.Columns("n")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			seen := recordDurably(r, rowOps, func(op triggers.Op, _, after *aliasTable) string {
				if after == nil {
					return op.String()
				}
				return fmt.Sprint(op, " ", after.OldRow, after.NewRow, after.N)
			}, opts...)
			db, log := taped(t, r, []any{&aliasTable{}})
			pubsubtest.Listen(t, db)
			row := aliasTable{OldRow: "a", NewRow: "b"}
			require.NoError(t, db.Create(&row).Error)
			require.NoError(t, db.Model(&row).Update("n", 7).Error, "a writer never fails")
			require.NoError(t, db.Delete(&row).Error)
			drained(t, db)
			require.Equal(t, []string{"insert ab0", "update ab7", "delete"}, seen.take(t, 3))
			require.Empty(t, deadLetters(t, db))
			require.NotContains(t, log.String(), "ERROR")
		})
	}
}

func TestQueueWriterLargeRow(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	lengths := newInbox[int]()
	hooks.OnSave(&cargo{}, func(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[cargo]) error {
		lengths <- len(p.New.Body)
		return nil
	}, hooks.In(r), hooks.Name("cargo"), hooks.Ordered())
	db, _ := taped(t, r, []any{&cargo{}})
	pubsubtest.Listen(t, db)
	require.NoError(t, db.Exec("INSERT INTO cargos (body) VALUES (repeat('x\"€', 6000000)), ('y')").Error) // 30 MB
	require.NoError(t, db.Exec("UPDATE cargos SET body = repeat('x\"€', 1000000) WHERE body = 'y'").Error)
	got := lengths.take(t, 3)
	require.ElementsMatch(t, []int{30_000_000, 1, 5_000_000}, got)
	require.Less(t, slices.Index(got, 1), slices.Index(got, 5_000_000), "the order of one key")
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
}

func TestQueueEveryWriteFires(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Ordered": {hooks.Ordered()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			items, parts := recordDurably(r, allOps, itemLine, opts...), recordDurably(r, allOps, partLine, opts...)
			db, _ := taped(t, r, []any{&Item{}, &Part{}})
			conn := writerSession(t, db)
			write(t, conn,
				`INSERT INTO items (id, name, n) VALUES (1, 'ink', 1)`,
				`INSERT INTO items (id, name, n) VALUES (1, 'ink', 9), (2, 'cup', 4) ON CONFLICT (name) DO UPDATE SET n = items.n + 1`,
				`INSERT INTO items (id, name, n) VALUES (1, 'ink', 9) ON CONFLICT DO NOTHING`,
				`UPDATE items SET n = 5 WHERE name = 'cup'`,
				`UPDATE items SET n = 5 WHERE false`,
				`INSERT INTO parts (id, item_id) VALUES (1, 1), (2, 1), (3, 2)`,
				`UPDATE items SET id = 10 WHERE id = 1`, // and its parts'
				`DELETE FROM items WHERE id = 10`,       // and its parts
				`WITH gone AS (DELETE FROM items RETURNING *) INSERT INTO items SELECT id + 100, name || '!', n FROM gone`)
			_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"items"}, []string{"id", "name", "n"}, pgx.CopyFromRows([][]any{{int64(7), "seven", 7}, {int64(8), "eight", 8}}))
			require.NoError(t, err)
			want := []string{"insert - ink:1", "insert - cup:4", "update ink:1 ink:2", "update cup:4 cup:5", "update ink:2 ink:2", "delete ink:2 -", "delete cup:5 -", "insert - cup!:5", "insert - seven:7", "insert - eight:8"}
			if number(t, db, `SELECT current_setting('server_version_num')::int`) >= 150000 { // which has MERGE
				write(t, conn, `MERGE INTO items USING (VALUES ('seven', 0), ('eight', 41), ('mug', 5)) AS v(name, n) ON items.name = v.name
					WHEN MATCHED AND v.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = v.n WHEN NOT MATCHED THEN INSERT (id, name, n) VALUES (55, v.name, v.n)`)
				want = append(want, "delete seven:7 -", "update eight:8 eight:41", "insert - mug:5")
			}
			write(t, conn, `TRUNCATE items, parts`)
			want = append(want, "truncate - -")
			pubsubtest.Listen(t, db)
			got := items.take(t, len(want))
			wantParts := []string{"insert - 1 of 1", "insert - 2 of 1", "insert - 3 of 2", "update 1 of 1 1 of 10", "update 2 of 1 2 of 10", "delete 1 of 10 -", "delete 2 of 10 -", "delete 3 of 2 -", "truncate - -"}
			gotParts := parts.take(t, len(wantParts))
			drained(t, db)
			require.Empty(t, deadLetters(t, db))
			require.Empty(t, items)
			require.Empty(t, parts)
			slices.Sort(want) // a statement's triggers don't fire in the order of its actions
			slices.Sort(got)
			slices.Sort(gotParts)
			slices.Sort(wantParts)
			require.Equal(t, want, got)
			require.Equal(t, wantParts, gotParts)
		})
	}
}

func TestQueuePartitionedTable(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	seen := recordDurably(r, allOps, measurementLine)
	db, _ := taped(t, r, nil)
	conn := writerSession(t, db)
	write(t, conn, "CREATE TABLE measurements (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, n int) PARTITION BY RANGE (at)",
		"CREATE TABLE m1 PARTITION OF measurements FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
		"CREATE TABLE m2 PARTITION OF measurements FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')")
	require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
	pubsubtest.Listen(t, db)
	write(t, conn, "INSERT INTO measurements (at, n) VALUES ('2026-01-05', 1), ('2026-02-05', 2)", "UPDATE measurements SET n = 10 WHERE n = 1",
		"INSERT INTO m1 (id, at, n) OVERRIDING SYSTEM VALUE VALUES (3, '2026-01-06', 3)",
		"UPDATE measurements SET at = '2026-02-06' WHERE n = 10", "DELETE FROM measurements WHERE n = 2", "TRUNCATE measurements")
	got := seen.take(t, 8)
	slices.Sort(got)
	want := []string{"insert - 1/01/1", "insert - 2/02/2", "update 1/01/1 1/01/10", "insert - 3/01/3", "delete 1/01/10 -", "insert - 1/02/10", "delete 2/02/2 -", "truncate - -"}
	for i := range want {
		want[i] = strings.TrimSpace(want[i])
	}
	slices.Sort(want)
	require.Equal(t, want, got)
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
}

// A type's cast to json raises an exception.
func TestQueueWriterWithACastThatFails(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Ordered": {hooks.Ordered()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			seen := recordDurably(r, rowOps, func(op triggers.Op, _, _ *parcel) string { return op.String() }, opts...)
			db, _ := taped(t, r, nil)
			conn := writerSession(t, db,
				"CREATE TYPE mood AS ENUM ('good', 'bad')",
				"CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF $1 = 'bad' THEN RAISE EXCEPTION 'no'; END IF; RETURN '7'; END $$",
				"CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood)",
				"CREATE TYPE pair AS (a int, b mood)",
				"CREATE TABLE parcels (id bigint PRIMARY KEY, label text, weight bigint, p pair)")
			require.NoError(t, pubsubtest.Of(t, db).Migrate(t.Context()))
			pubsubtest.Listen(t, db)
			write(t, conn, "INSERT INTO parcels VALUES (1, 'a', 1, (1, 'good')), (2, 'b', 2, (0, 'bad')), (3, 'c', 3, NULL)",
				"UPDATE parcels SET weight = 7 WHERE id IN (1, 2)", "DELETE FROM parcels")
			drained(t, db)
			got := seen.take(t, 5)
			slices.Sort(got)
			require.Equal(t, []string{"delete", "delete", "insert", "insert", "update"}, got)
			letters := deadLetters(t, db)
			require.Len(t, letters, 3)
			for _, l := range letters {
				require.Contains(t, l.Error, "P0001")
			}
		})
	}
}

func TestQueueWriterWithoutRights(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	seen := recordDurably(r, rowOps, func(op triggers.Op, _, _ *parcel) string { return op.String() }, hooks.When("COALESCE(NEW.label, OLD.label, '') <> 'no'"), hooks.Columns("label"), hooks.Ordered())
	plain := newInbox[string]()
	onParcelDurably(r, "plain", plain.put)
	db, _ := taped(t, r, []any{&parcel{}})
	pubsubtest.Listen(t, db)
	asleep(t, db, "parcels_insert")
	var role string
	require.NoError(t, db.Raw("SELECT 'queue_writer_of_' || current_database()").Scan(&role).Error)
	for _, s := range []string{
		"CREATE ROLE " + role + " LOGIN", "GRANT INSERT, UPDATE, DELETE, SELECT, TRUNCATE ON parcels TO " + role, "GRANT USAGE ON SEQUENCE parcels_id_seq TO " + role,
		"REVOKE ALL ON SCHEMA pubsub FROM PUBLIC", "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pubsub FROM PUBLIC", "REVOKE ALL ON ALL TABLES IN SCHEMA pubsub FROM PUBLIC",
	} {
		require.NoError(t, db.Exec(s).Error, s)
	}
	t.Cleanup(func() { require.NoError(t, db.Exec("DROP OWNED BY "+role+"; DROP ROLE "+role).Error) })
	conn := writerSession(t, db, "SET SESSION AUTHORIZATION "+role)
	_, err := conn.Exec(t.Context(), "SELECT * FROM pubsub.event")
	require.ErrorContains(t, err, "permission denied")
	write(t, conn, "INSERT INTO parcels (label) VALUES ('a'), ('no')", "UPDATE parcels SET label = 'b' WHERE label = 'a'", "UPDATE parcels SET weight = 1", "DELETE FROM parcels", "TRUNCATE parcels")
	got := seen.take(t, 3)
	slices.Sort(got)
	require.Equal(t, []string{"delete", "insert", "update"}, got[:3])
	plain.take(t, 2)
	drained(t, db)
	require.Empty(t, deadLetters(t, db))
}

// Strict isolation: our doing fails no writer that would not have failed without.
func TestQueueWriterIsolation(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Concurrency(2))
	news := listener.NewChannel[int]("news", listener.In(r))
	in := newInbox[int]()
	news.Listen(in.put)
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	pubsubtest.Listen(t, db)
	const each = 100
	var group sync.WaitGroup
	for _, level := range []string{"SERIALIZABLE", "REPEATABLE READ", "SERIALIZABLE", "REPEATABLE READ"} {
		group.Go(func() {
			conn, err := pgx.Connect(t.Context(), dsnOf(t, db))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.Background())
			for n := range each {
				for _, s := range []string{"BEGIN ISOLATION LEVEL " + level, "INSERT INTO parcels (label) VALUES ('x')", "INSERT INTO parcels (label) VALUES ('y'), ('z')", "COMMIT"} {
					if _, err := conn.Exec(t.Context(), s); !assert.NoError(t, err, "%s %d: %s", level, n, s) {
						return
					}
				}
			}
		})
	}
	group.Wait()
	drained(t, db)
	requireReceipts(t, db)
	require.EqualValues(t, 4*each*3, receipts(t, db))
	require.Empty(t, deadLetters(t, db))
}

// A server whose default is strict: the workers don't fail each other.
func TestQueueWorkersInAStrictDatabase(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	onDurableParcel(r, "d", func(context.Context, *gorm.DB, string) error { return nil }, hooks.Concurrency(3), quickly(2))
	leased := newInbox[string]()
	onParcelDurably(r, "leased", leased.put, hooks.Concurrency(3), hooks.Leased(time.Minute), hooks.Ordered(), quickly(2))
	db, _ := taped(t, r, []any{&parcel{}, &receipt{}})
	var name string
	require.NoError(t, db.Raw("SELECT current_database()").Scan(&name).Error)
	require.NoError(t, db.Exec("ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'").Error)
	second, _ := another(t, db, r)
	pubsubtest.Listen(t, second)
	for n := range 20 {
		require.NoError(t, second.Create(&[]parcel{{Label: fmt.Sprint(n)}, {Label: "b"}, {Label: "c"}}).Error)
	}
	leased.take(t, 60)
	drained(t, db)
	requireReceipts(t, db)
	require.Empty(t, deadLetters(t, db))
}

func TestQueuePreparedTransaction(t *testing.T) {
	t.Parallel()
	r := hooks.NewRegistry()
	in := newInbox[string]()
	onParcelDurably(r, "d", in.put)
	db, _ := taped(t, r, []any{&parcel{}})
	conn := writerSession(t, db)
	var name string
	require.NoError(t, db.Raw("SELECT current_database()").Scan(&name).Error)
	write(t, conn, "BEGIN", "INSERT INTO parcels (label) VALUES ('first')", "PREPARE TRANSACTION 'first "+name+"'",
		"BEGIN", "INSERT INTO parcels (label) VALUES ('second')", "PREPARE TRANSACTION 'second "+name+"'")
	pubsubtest.Listen(t, db)
	write(t, conn, "INSERT INTO parcels (label) VALUES ('between')")
	require.Equal(t, "between", in.next(t))
	write(t, conn, "COMMIT PREPARED 'first "+name+"'")
	at := time.Now()
	require.Equal(t, "first", in.next(t))
	require.Less(t, time.Since(at), prompt)
	write(t, conn, "ROLLBACK PREPARED 'second "+name+"'")
	asleep(t, db, "parcels_insert")
	drained(t, db)
	require.Empty(t, in)
}

// A row's writes and the queue's own statements are cheap, whatever the planner
// thinks of tables that it has no statistics of: each runs as often as a commit.
func TestQueueStatementsAreQuick(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]hooks.Option{"Plain": nil, "Ordered": {hooks.Ordered()}, "When": {hooks.When("COALESCE(NEW.weight, OLD.weight) >= 0"), hooks.Columns("weight")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hooks.NewRegistry()
			recordDurably(r, rowOps, func(op triggers.Op, _, _ *parcel) string { return op.String() }, opts...)
			db, _ := taped(t, r, []any{&parcel{}})
			conn := writerSession(t, db)
			create(t, db, "x")
			limit := 40 * time.Millisecond // a statement takes about one
			for _, statement := range []string{
				"INSERT INTO parcels (label, weight) VALUES ('x', 1)", "UPDATE parcels SET weight = weight + 1 WHERE id = 1", "DELETE FROM parcels WHERE id = (SELECT max(id) FROM parcels)",
				"SELECT * FROM pubsub.claim(1, 0, 10)", "SELECT * FROM pubsub.claim_ordered(1, 0, 10)", "SELECT * FROM pubsub.lease(1, 0, 10, 5, '1 second', false)",
				"SELECT * FROM pubsub.lease(1, 0, 10, 5, '1 second', true)", "SELECT pubsub.promote(10000)",
			} {
				best := time.Hour
				for range 8 {
					write(t, conn, "BEGIN")
					at := time.Now()
					write(t, conn, statement)
					best = min(best, time.Since(at))
					write(t, conn, "ROLLBACK")
				}
				assert.Less(t, best, limit, "the quickest of 8: %s", statement)
			}
		})
	}
}
