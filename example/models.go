package main

import (
	"context"
	"fmt"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

// Author writes posts.
type Author struct {
	ID   int64
	Name string
}

// Post is written by an author.
type Post struct {
	ID       int64
	AuthorID int64
	Author   Author
	Content  string
	Date     time.Time `gorm:"type:date"`
}

// User has an account.
type User struct {
	ID        int64
	Username  string
	FirstName string
	LastName  string
	Email     string
}

// folder is the schema of the example's tables, which keeps them apart from
// the tables of a database that is in use.
const folder = "example"

// open connects with the plugin in use, and migrates.
func open(ctx context.Context, url string) (*gorm.DB, *pubsub.Plugin, error) {
	db, err := gorm.Open(postgres.Open(url), &gorm.Config{
		NamingStrategy: schema.NamingStrategy{TablePrefix: folder + "."},
		Logger:         logger.Discard,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("connect to DATABASE_URL: %w", err)
	}
	p := pubsub.New()
	if err := db.Use(p); err != nil {
		return nil, nil, err
	}
	// The lock is for several processes that start at once, which AutoMigrate
	// alone doesn't bear. The triggers come with the tables.
	return db, p, db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, statement := range []string{"SELECT pg_advisory_xact_lock(20220124)", "CREATE SCHEMA IF NOT EXISTS " + folder} {
			if err := tx.Exec(statement).Error; err != nil {
				return err
			}
		}
		return tx.AutoMigrate(&Author{}, &Post{}, &User{})
	})
}
