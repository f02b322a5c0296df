package pubsub_test

import (
	"context"
	"fmt"
	"log"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/internal/pgserver"
	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

type Author struct {
	ID   int64
	Name string
}

type Post struct {
	ID       int64
	AuthorID int64
	Content  string
}

// postCreated tells the example that the function has run.
var postCreated = make(chan struct{})

func init() {
	hooks.OnInsert(&Author{}, createFirstPost)
}

func createFirstPost(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[Author]) error {
	defer func() { postCreated <- struct{}{} }()
	return tx.Create(&Post{AuthorID: p.New.ID, Content: "Welcome! This is your first post"}).Error
}

// The program of the README: a first post for every new author.
func Example() {
	dsn, done := database()
	defer done()

	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	p := pubsub.New()
	if err := db.Use(p); err != nil {
		log.Fatal(err)
	}
	if err := db.AutoMigrate(&Author{}, &Post{}); err != nil { // installs the triggers, too
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Listen(ctx) }() // blocks; in this process or in one of its own
	<-p.Ready()

	if err := db.Exec("INSERT INTO authors (name) VALUES ('Ada')").Error; err != nil {
		log.Fatal(err)
	}
	<-postCreated // and about to be committed
	cancel()
	fmt.Println(<-ended)

	var post Post
	if err := db.First(&post).Error; err != nil {
		log.Fatal(err)
	}
	fmt.Println(post.Content)
	// Output:
	// <nil>
	// Welcome! This is your first post
}

type PostRead struct {
	PostID int64
	Date   string
}

// A typed channel of the application's own.
func Example_typedChannel() {
	dsn, done := database()
	defer done()

	registry := hooks.NewRegistry()
	postReads := listener.NewChannel[PostRead]("post_reads_per_date", listener.In(registry))
	heard := make(chan PostRead)
	postReads.Listen(func(_ context.Context, _ *gorm.DB, r PostRead) error {
		heard <- r
		return nil
	}, listener.Name("count reads"))

	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	p := pubsub.New(pubsub.WithRegistry(registry))
	if err := db.Use(p); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := p.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- p.Listen(ctx) }()
	<-p.Ready()

	if err := db.Transaction(func(tx *gorm.DB) error {
		return postReads.Notify(ctx, tx, PostRead{PostID: 12, Date: "2026-11-21"})
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)

	cancel()
	fmt.Println(<-ended)
	// Output:
	// {12 2026-11-21}
	// <nil>
}

// database returns the address of a new database.
func database() (dsn string, done func()) {
	ctx := context.Background()
	server, err := pgserver.Shared(ctx)
	if err != nil {
		log.Fatal(err)
	}
	dsn, drop, err := server.CreateDatabase(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return dsn, func() {
		if err := drop(ctx); err != nil {
			log.Fatal(err)
		}
	}
}
