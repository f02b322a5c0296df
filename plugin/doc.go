// Package pubsub is a GORM plugin that brings publish/subscribe to models on
// Postgres: functions that are declared on a model run when its rows change,
// whoever changed them.
//
//	import (
//		"github.com/gorm-pubsub/pubsub/hooks"
//		pubsub "github.com/gorm-pubsub/pubsub/plugin"
//	)
//
//	func init() {
//		hooks.OnInsert(&Author{}, createFirstPost)
//	}
//
//	func main() {
//		db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
//		// …
//		p := pubsub.New()
//		err = db.Use(p)
//		err = db.AutoMigrate(&Author{}, &Post{}) // installs the triggers, too
//		err = p.Listen(ctx)                      // blocks; in this process or in one of its own
//	}
//
// Package hooks declares functions on models, package listener typed channels
// of an application's own. The guarantees of delivery are told there.
package pubsub
