package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

// play runs everything in one process: a Postgres, a listener, the stories.
func play(ctx context.Context, out io.Writer) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := pgserver.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	fmt.Fprintf(out, "Postgres: %s\n", server.Origin())

	db, p, err := open(ctx, server.URL())
	if err != nil {
		return err
	}
	channels, err := p.Channels()
	if err != nil {
		return err
	}
	listening, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Listen(listening) }()
	stopped := sync.OnceValue(func() error { cancel(); return <-ended })
	defer func() { err = errors.Join(err, stopped()) }()
	select {
	case <-p.Ready():
		fmt.Fprintf(out, "Listening: %s\n", strings.Join(channels, ", "))
	case err := <-ended:
		ended <- nil
		return err
	}

	for _, story := range []func(context.Context, io.Writer, *gorm.DB) error{countReads, welcomeAuthors, tellDetails} {
		if err := story(ctx, out, db); err != nil {
			return err
		}
	}
	if err := stopped(); err != nil { // so that what is done is counted
		return err
	}
	return healthy(out, p)
}

// healthy says how it went, by the plugin's own count.
func healthy(out io.Writer, p *pubsub.Plugin) error {
	var handled, failed int64
	for _, s := range p.Health().Subscriptions {
		handled, failed = handled+s.Handled, failed+s.Failed
	}
	fmt.Fprintf(out, "\nDone: %d events handled, %d failed.\n", handled, failed)
	if failed > 0 {
		return fmt.Errorf("%d events failed", failed)
	}
	return nil
}

func countReads(ctx context.Context, out io.Writer, db *gorm.DB) error {
	fmt.Fprintln(out, "\n1. How often is a post read per day? A typed channel keeps the count out of the reader's way.")
	today := time.Now().Format(time.DateOnly)
	fmt.Fprintln(out, "   post 12 is read twice, post 7 once")
	for _, id := range []int64{12, 12, 7} {
		if err := postReads.Notify(ctx, db, PostRead{PostID: id, Date: today}); err != nil {
			return err
		}
	}
	if err := hear(ctx, 3); err != nil {
		return err
	}
	fmt.Fprintln(out, "   post 12 is read in a transaction that is rolled back: nothing is sent")
	errRollback := errors.New("changed our mind")
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := postReads.Notify(ctx, tx, PostRead{PostID: 12, Date: today}); err != nil {
			return err
		}
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		return err
	}
	return nil
}

func welcomeAuthors(ctx context.Context, out io.Writer, db *gorm.DB) error {
	fmt.Fprintln(out, "\n2. A first post for every new author. A function on the model, whoever inserts.")
	fmt.Fprintln(out, "   GORM creates Paul")
	paul := Author{Name: "Paul"}
	if err := db.Create(&paul).Error; err != nil {
		return err
	}
	if _, err := posts(ctx, db, paul, 1); err != nil {
		return err
	}
	fmt.Fprintln(out, "   plain SQL inserts Ada and Grace")
	if err := db.Exec("INSERT INTO example.authors (name) SELECT unnest(ARRAY['Ada', 'Grace'])").Error; err != nil {
		return err
	}
	all, err := posts(ctx, db, paul, 3)
	for _, post := range all {
		fmt.Fprintf(out, "   in the table: %s's %q\n", post.Author.Name, post.Content)
	}
	return err
}

// posts waits until n posts by this author and later ones are in the table, which
// another process may have written.
func posts(ctx context.Context, db *gorm.DB, since Author, n int) ([]Post, error) {
	deadline := time.Now().Add(patience)
	for {
		var all []Post
		if err := db.WithContext(ctx).Preload("Author").Where("author_id >= ?", since.ID).Order("id").Find(&all).Error; err != nil {
			return nil, err
		}
		if len(all) >= n {
			return all, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("there are %d posts, and not %d", len(all), n)
		}
		time.Sleep(time.Millisecond)
	}
}

func tellDetails(ctx context.Context, out io.Writer, db *gorm.DB) error {
	fmt.Fprintln(out, "\n3. A user's details, sent when they change and the change is committed.")
	fmt.Fprintln(out, "   Jane signs up")
	jane := User{Username: "jane", FirstName: "Jane", LastName: "Doe"}
	if err := db.Create(&jane).Error; err != nil {
		return err
	}
	if err := hear(ctx, 1); err != nil {
		return err
	}
	fmt.Fprintln(out, "   she gets an address, in a transaction that commits")
	err := db.Transaction(func(tx *gorm.DB) error {
		return tx.Model(&jane).Update("email", "jane@example.org").Error
	})
	if err != nil {
		return err
	}
	return hear(ctx, 1)
}

// patience is how long a story waits for a listener.
const patience = 10 * time.Second

// hear waits until the listeners have said n lines.
func hear(ctx context.Context, n int) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for range n {
		select {
		case <-told:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("a listener said nothing for %s", patience)
		}
	}
	return nil
}
