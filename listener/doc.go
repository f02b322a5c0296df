// Package listener is the runtime of the publish/subscribe plugin: it listens
// on Postgres's notification channels and hands what arrives to the functions
// that were declared for them. It also has the typed channels on which an
// application notifies by itself.
//
// Model listeners are declared with package hooks, and both run when the
// plugin's Listen runs.
//
// # Durable delivery
//
// An event is stored for each durable subscription of its channel in the
// transaction that causes it. One worker of all processes takes it, and calls the
// function in the transaction that removes it: the function is called at least
// once, and what it writes through tx takes effect exactly once. Events outlive
// restarts. They are taken in the order in which they were stored; with
// Concurrency, several processes, retries, and transactions that overlap, that is
// no promise, unless the subscription is Ordered.
//
// Several events are handled in one transaction, as many as take about 100
// milliseconds. When one fails, all are rolled back and handled one by one. A
// failed event is tried again as its RetryPolicy says, and goes to the dead letters
// in the end, as does one that can't be decoded.
//
// Between a worker's attempts no connection of the pool is held. While it handles
// a batch, it holds one; with Leased none while the function runs.
//
// An idle process sleeps until it is notified, and looks by itself every 5
// seconds. See gates for how writers learn that they need not notify.
//
// # Broadcast delivery
//
// A broadcast goes to every process that listens at that moment, at most once:
// a process that is down, or whose connection is broken, misses it. Use it for
// what every process has to know and can do without, such as emptying a cache.
// In one process a subscription's events arrive in the order of their commits,
// one at a time, unless it asks for Concurrency.
//
// Each subscription has a buffer of its own. When a slow function lets it fill
// up, what arrives is dropped, counted and reported with a warning; the other
// subscriptions don't notice. See Health for the counters.
//
// # Connections
//
// A process has one connection that listens, whatever the number of channels.
// No function ever runs on it. It is checked while it is silent, found dead
// within 40 seconds even if the network says nothing, and replaced with
// jittered back-off. What may have been missed meanwhile is reported as a Gap.
package listener
