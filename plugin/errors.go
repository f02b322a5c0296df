package pubsub

import "errors"

var (
	// ErrNotPostgres is returned by db.Use for a database that isn't Postgres.
	ErrNotPostgres = errors.New("pubsub: the database must be Postgres")

	// ErrTwoPlugins is returned by db.Use when the *gorm.DB has a plugin of
	// this package already, or the plugin belongs to another *gorm.DB.
	ErrTwoPlugins = errors.New("pubsub: one plugin belongs to one *gorm.DB")

	// ErrNotUsed is returned by the plugin's methods before db.Use.
	ErrNotUsed = errors.New("pubsub: the plugin is not in use: call db.Use(p) first")
)
