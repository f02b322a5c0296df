package triggers

import "errors"

// ErrDrift is returned by Verify when the database does not have the triggers
// as they are defined. The error's text lists the differences.
var ErrDrift = errors.New("pubsub: triggers in the database differ from their definitions")

// ErrNoTable is returned when a definition's table does not exist.
var ErrNoTable = errors.New("pubsub: table does not exist")

// ErrUnknownChannel is returned when a channel is named that no definition has.
var ErrUnknownChannel = errors.New("pubsub: unknown channel")

// ErrNotMigrated is returned when the database lacks the plugin's own tables
// and functions, or has them as an older version made them.
var ErrNotMigrated = errors.New("pubsub: the plugin's own tables are not up to date: call Migrate first")
