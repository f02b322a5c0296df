// Package hooks declares functions on GORM models: they run when rows change,
// whoever changed them. The change may come from GORM, from another service or
// from a line typed into psql, since triggers in Postgres report it.
//
//	func init() {
//		hooks.OnInsert(&Author{}, createFirstPost)
//	}
//
//	func createFirstPost(ctx context.Context, tx *gorm.DB, p hooks.TriggerPayload[Author]) error {
//		return tx.Create(&Post{AuthorID: p.New.ID, Content: "Welcome!"}).Error
//	}
//
// Declarations usually stand in init functions. They only fill a registry; the
// plugin installs the triggers when it migrates, and the functions run in the
// processes in which the plugin listens.
//
// # Delivery
//
// By default delivery is durable: an event is stored with the write that caused
// it, and one process of all that listen calls the function in the transaction
// that removes it, at least once, with exactly one effect. With Broadcast, every
// process that is listening gets each event, at most once. See package listener
// for what both mean.
//
// # After the commit
//
// AfterCommit and AfterRollback call a function of this process's when a transaction
// has really ended, in whatever way it was begun, on every database of GORM's. They
// are for what may get lost with the process; a listener is for what may not.
//
// # Mistakes
//
// A declaration that can't be right whatever the database (no function, a name
// that is taken, an option out of range) panics and names the places, since it
// is a mistake in the program's text that shows at its start. What needs the
// model or the database to be seen is returned by db.Use, Migrate and Listen,
// naming the declaration as well.
package hooks
