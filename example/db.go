package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
)

// newDB returns the command that keeps a Postgres running.
func newDB() *cobra.Command {
	return &cobra.Command{
		Use:   "db",
		Short: "Run a Postgres until interrupted, and print its address",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			server, err := pgserver.Start(ctx)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "# Postgres: %s\n# In other terminals:\n", server.Origin())
			fmt.Fprintf(out, "export DATABASE_URL='%s'\n", server.URL())
			fmt.Fprintln(out, "# go run ./example listen\n# go run ./example\n# psql \"$DATABASE_URL\"\n# Ctrl-C here ends it and removes its data.")
			<-ctx.Done()
			return server.Stop()
		},
	}
}
