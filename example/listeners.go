package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-pubsub/pubsub/envelope"
	"github.com/gorm-pubsub/pubsub/hooks"
	"github.com/gorm-pubsub/pubsub/listener"
)

// Story one: how often a post is read per day. A channel of the application's
// own, with a Go type for what it carries.

// PostRead is one reading of a post.
type PostRead struct {
	PostID int64
	Date   string // such as 2026-11-21
}

var postReads = listener.NewChannel[PostRead]("post_reads_per_date", listener.Broadcast())

// readsPerDate is the cache that the listener keeps.
var readsPerDate = struct {
	sync.Mutex
	byDate map[string]map[int64]int
}{byDate: map[string]map[int64]int{}}

func countRead(_ context.Context, _ *gorm.DB, r PostRead) error {
	readsPerDate.Lock()
	defer readsPerDate.Unlock()
	if readsPerDate.byDate[r.Date] == nil {
		readsPerDate.byDate[r.Date] = map[int64]int{}
	}
	readsPerDate.byDate[r.Date][r.PostID]++
	tell("post_reads_per_date", "post %d: %d on %s", r.PostID, readsPerDate.byDate[r.Date][r.PostID], r.Date)
	return nil
}

// Story two: a first post for every new author, however the author came.

func createFirstPost(_ context.Context, tx *gorm.DB, p hooks.TriggerPayload[Author]) error {
	say("author_insert", "creating the first post of %s", p.New.Name)
	// One process of all that listen gets the event, and tx is the transaction
	// that takes it out of the queue: there is one post, whatever crashes.
	return tx.Create(&Post{AuthorID: p.New.ID, Content: "Welcome! This is your first post", Date: time.Now()}).Error
}

// Story three: a user's details, whenever they change.

func userDetails(_ context.Context, _ *gorm.DB, p hooks.TriggerPayload[User]) error {
	// The message as a browser will get it, once there is a socket to send it to.
	frame, err := envelope.Frame{Type: "user.details", Payload: map[string]string{
		"username": p.New.Username, "first_name": p.New.FirstName, "last_name": p.New.LastName, "email": p.New.Email,
	}}.Encode()
	if err != nil {
		return err
	}
	tell("user_details", "to user_%d: %s", p.New.ID, frame)
	return nil
}

func init() {
	postReads.Listen(countRead)
	hooks.OnInsert(&Author{}, createFirstPost, hooks.Channel("author_insert"))
	hooks.OnSave(&User{}, userDetails, hooks.Broadcast(), hooks.Channel("user_details"),
		hooks.Columns("Username", "FirstName", "LastName", "Email"))
}

// told has a token for each broadcast that a listener of this process has told of,
// for the stories to wait on.
var told = make(chan struct{}, 1000)

// tell prints a broadcast listener's line.
func tell(channel, format string, args ...any) {
	say(channel, format, args...)
	select {
	case told <- struct{}{}:
	default: // in a process that only listens nobody waits
	}
}

// say prints a listener's line.
func say(channel, format string, args ...any) {
	fmt.Printf("   → %s: %s\n", channel, fmt.Sprintf(format, args...))
}
