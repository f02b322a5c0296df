package listener

import "errors"

var (
	// ErrUnknownChannel is returned by Run when it is asked for a channel that
	// nothing was declared for. The error's text lists the known ones.
	ErrUnknownChannel = errors.New("pubsub: unknown channel")

	// ErrNothingDeclared is returned by Run when the registry has no
	// subscription: the package that declares them is probably not imported.
	ErrNothingDeclared = errors.New("pubsub: no listener is declared")

	// ErrListening is returned by Run while another Run of the same Listener
	// is going on.
	ErrListening = errors.New("pubsub: already listening")

	// ErrNotInstalled is returned by Notify when tx belongs to a *gorm.DB that
	// has no plugin.
	ErrNotInstalled = errors.New("pubsub: the plugin is not installed in this *gorm.DB: call db.Use(pubsub.New()) first")

	// ErrTooLarge is returned by Notify when a value's JSON is longer than 256
	// MiB.
	ErrTooLarge = errors.New("pubsub: the value is too large")

	// ErrUnknownSubscription is returned by the Queue's methods when the database
	// has no subscription of that name.
	ErrUnknownSubscription = errors.New("pubsub: unknown subscription")

	// ErrLeaseLost is the cause of the end of a leased function's context when
	// its lease could not be extended in time: another worker may have the event
	// by now.
	ErrLeaseLost = errors.New("pubsub: the lease ran out")

	// ErrDeaf is returned by Run when a notification that was sent through the
	// application's pool does not arrive on the listening connection. The two
	// reach different databases, or a pooler in transaction mode is in between.
	ErrDeaf = errors.New("pubsub: notifications don't arrive")

	// ErrStillRunning is returned by Run when functions did not return even
	// after their contexts were cancelled. The error's text names them.
	ErrStillRunning = errors.New("pubsub: functions are still running")

	// ErrNoAddress is returned when the connection to listen on can't be found
	// from the *gorm.DB.
	ErrNoAddress = errors.New("pubsub: can't tell how to reach Postgres for listening")
)
