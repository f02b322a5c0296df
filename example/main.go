// Command example shows the plugin at work. Without a command it brings a
// Postgres of its own, listens, and plays three stories:
//
//	go run ./example
//
// With two terminals and a Postgres that stays, the two halves run apart:
//
//	go run ./example db                                  # prints DATABASE_URL
//	go run ./example listen --channel author_insert      # in a second terminal
//	go run ./example                                     # in a third
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/plugin/command"
)

func main() {
	root := &cobra.Command{
		Use:           "example",
		Short:         "Functions that run when rows change, in three stories",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return play(cmd.Context(), cmd.OutOrStdout()) },
	}
	root.AddCommand(command.New(openGiven).Commands()...)
	root.AddCommand(newDB())
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// openGiven opens the database of DATABASE_URL, for the commands that make
// sense only with one that others use, too.
func openGiven(ctx context.Context) (*pubsub.Plugin, error) {
	url := os.Getenv("DATABASE_URL")
	if url == "" {
		return nil, errors.New("set DATABASE_URL to the Postgres to use; `go run ./example db` runs one and prints its address")
	}
	_, p, err := open(ctx, url)
	return p, err
}
