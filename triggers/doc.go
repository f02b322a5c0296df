// Package triggers is the SQL side of the publish/subscribe plugin: it turns
// trigger definitions into SQL, compares them with what a database has, and
// installs, verifies, disables and removes them.
//
// An application rarely calls it: the plugin installs the triggers of the
// models that it migrates. Call it to see the SQL, to check for drift in a
// deployment, or to clean up after a declaration was removed.
//
// SetContext gives the events of a transaction something to carry, and Ignore keeps a
// transaction from causing any.
//
// # Guarantees
//
//   - A trigger never makes a user's write fail. Whatever goes wrong inside it
//     is raised as a warning to the writer and told to the listeners.
//   - Triggers fire AFTER the write, so they see the rows as stored.
//   - An ordinary table gets statement-level triggers, whose cost is per
//     statement and whose notifications carry many rows. A partitioned table, a
//     partition, an inheritance child and a foreign table get row-level ones,
//     since a statement-level trigger there misses writes that reach the rows
//     by another table's name.
//   - Installing is idempotent and safe from any number of processes at once.
//     What is up to date is not touched, so that no lock is taken.
package triggers
