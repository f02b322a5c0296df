// Package command is the plugin's command line, for an application to mount in
// its own:
//
//	root.AddCommand(command.New(open)) // app pubsub listen, …
//
// or, to have the commands at the top, root.AddCommand(command.New(open).Commands()...).
package command

import (
	"context"

	"github.com/spf13/cobra"

	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

// Open opens the application's database and returns the plugin that is in use
// there. It is called once, when a command runs.
type Open func(ctx context.Context) (*pubsub.Plugin, error)

// New returns the command "pubsub" with the commands listen, migrate, channels,
// status, dead, redrive, pause, resume and rename. They end cleanly when the command's context does, which the
// application gives with ExecuteContext.
func New(open Open) *cobra.Command {
	root := &cobra.Command{
		Use:   "pubsub",
		Short: "Listen to changes of models, and look after their triggers",
	}
	root.AddCommand(newListen(open), newMigrate(open), newChannels(open),
		newStatus(open), newDead(open), newRedrive(open), newPause(open), newResume(open), newRename(open))
	return root
}
