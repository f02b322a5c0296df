// Package txhook finds out when a transaction of GORM's has really ended. GORM has
// no hook for it: the callback that is called commit fires before the commit of an
// explicit transaction (go-gorm/gorm#7367).
//
// [Install] wraps the connection pool, inside of GORM's cache of prepared
// statements if there is one. A wrapped pool begins transactions of ours, which see
// savepoints go by, and Commit and Rollback. See [Scope] for what becomes of a hook.
package txhook
