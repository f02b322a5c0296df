package tests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/triggers"
)

// What the suites of the durable queue have in common.

// at once tries again without a pause to speak of.
func quickly(attempts int) hooks.Option {
	return hooks.Retry(listener.RetryPolicy{Attempts: attempts, First: time.Millisecond, Last: 5 * time.Millisecond})
}

// letter is a row of dead_event.
type letter struct {
	ID           int64
	Subscription string
	Channel      string
	Op           string
	Payload      string
	Attempt      int
	Error        string
	Stack        string
	CreatedAt    time.Time
	DiedAt       time.Time
}

func deadLetters(t *testing.T, db *gorm.DB) []letter {
	t.Helper()
	var all []letter
	require.NoError(t, db.Raw(`SELECT id, subscription, channel, COALESCE(op, '') AS op, COALESCE(payload::text, '') AS payload,
		attempt, error, COALESCE(stack, '') AS stack, created_at, died_at FROM pubsub.dead_event ORDER BY id`).Scan(&all).Error)
	return all
}

// number asks the database for one.
func number(t *testing.T, db *gorm.DB, query string, args ...any) int64 {
	t.Helper()
	var n int64
	require.NoError(t, db.Raw(query, args...).Scan(&n).Error)
	return n
}

// drained waits until the queue's table is empty.
func drained(t *testing.T, db *gorm.DB) {
	t.Helper()
	drainedWithin(t, db, soon)
}

func drainedWithin(t *testing.T, db *gorm.DB, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for left(t, db, "event") > 0 {
		if time.Now().After(deadline) {
			var rows []string
			_ = db.Raw("SELECT e::text FROM (SELECT id, subscription_id, attempt, run_at, lease, op, error FROM pubsub.event ORDER BY id LIMIT 5) AS e").Scan(&rows).Error
			require.FailNow(t, "the queue isn't empty in time", "%d left, the first are\n%s\n%d letters are dead",
				left(t, db, "event"), strings.Join(rows, "\n"), left(t, db, "dead_event"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// within polls for what comes from outside of the process.
func within(t *testing.T, limit time.Duration, condition func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(t, "not in time", "%s: not within %s", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// createMany writes parcels with one statement.
func createMany(t *testing.T, db *gorm.DB, labels ...string) []parcel {
	t.Helper()
	rows := make([]parcel, len(labels))
	for i, l := range labels {
		rows[i].Label = l
	}
	require.NoError(t, db.Create(&rows).Error)
	return rows
}

// spoil replaces the payload of the parcels' events that wait, packed or not.
func spoil(t *testing.T, db *gorm.DB, payload string, labels ...string) {
	t.Helper()
	require.NoError(t, db.Exec(`UPDATE pubsub.event AS e SET payload = (
		SELECT CASE WHEN e.packed IS NULL THEN min(m.member::text)::json ELSE json_agg(m.member ORDER BY m.id) END
		FROM (SELECT member_id AS id, CASE WHEN member->>'label' IN ? THEN ?::json ELSE member END AS member
			FROM pubsub.members(e.id, e.packed, e.payload)) AS m)`, labels, payload).Error)
}

func labels(n int, name string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(name, i)
	}
	return all
}

// requireReceipts fails unless there is exactly one for each parcel but those of
// these labels, which have none.
func requireReceipts(t *testing.T, db *gorm.DB, without ...string) {
	t.Helper()
	without = append(without, "\x01")
	var wrong []string
	require.NoError(t, db.Raw(`SELECT p.id || ' ' || p.label || ': ' || count(r.id) FROM parcels p LEFT JOIN receipts r ON r.parcel_id = p.id
		GROUP BY p.id HAVING count(r.id) <> CASE WHEN p.label IN ? THEN 0 ELSE 1 END ORDER BY p.id LIMIT 20`, without).Scan(&wrong).Error)
	require.Empty(t, wrong, "parcels and their numbers of receipts, where it isn't 1 (%d receipts in all)", receipts(t, db))
}

// another opens a second *gorm.DB with a plugin of its own on db's database, as
// another process would.
func another(t *testing.T, db *gorm.DB, r *listener.Registry, opts ...pubsub.Option) (*gorm.DB, *tape) {
	t.Helper()
	log := newTape(t)
	second, err := open(dsnOf(t, db), append([]pubsub.Option{pubsub.WithRegistry(r), pubsub.Logger(log.logger())}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if pool, err := second.DB(); err == nil {
			_ = pool.Close()
		}
	})
	return second, log
}

func open(dsn string, opts ...pubsub.Option) (*gorm.DB, error) {
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	return db, db.Use(pubsub.New(opts...))
}

// asleep waits until a process sleeps on the channel so that writers wake it.
func asleep(t *testing.T, db *gorm.DB, channel string) {
	t.Helper()
	within(t, soon, func() bool {
		return number(t, db, `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
			WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.mode = 'ExclusiveLock' AND l.granted AND l.classid = ? AND l.objid = ?::bigint::oid`,
			triggers.Gate, int64(uint32(triggers.GateKey("pubsub", channel)))) == 1
	}, "a sentinel on "+channel)
}

// workerVariable makes the test binary a process that works on a queue until its
// standard input ends: "KIND ADDRESS".
const workerVariable = "PUBSUB_QUEUE_WORKER"

// workers are the kinds of such processes: what they declare.
var workers = map[string]func(r *listener.Registry){
	"stubs": declareStubs, "gate": declareGate, "blocked": declareBlocked, "once": declareOnce,
}

func init() {
	kind, dsn, ok := strings.Cut(os.Getenv(workerVariable), " ")
	if !ok {
		return
	}
	if err := work(kind, dsn); err != nil {
		fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	os.Exit(0)
}

func work(kind, dsn string) error {
	r := hooks.NewRegistry()
	declare, ok := workers[kind]
	if !ok {
		return errors.New("no such kind")
	}
	declare(r)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := open(dsn, pubsub.WithRegistry(r), pubsub.Logger(log))
	if err != nil {
		return err
	}
	var p *pubsub.Plugin
	for _, plugin := range db.Plugins {
		if found, ok := plugin.(*pubsub.Plugin); ok {
			p = found
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends or says so
		cancel()
	}()
	go func() {
		select {
		case <-p.Ready():
			fmt.Println("ready")
		case <-ctx.Done():
		}
	}()
	return p.Listen(ctx)
}
