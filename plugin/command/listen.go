package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func newListen(open Open) *cobra.Command {
	var channels []string
	c := &cobra.Command{
		Use:   "listen",
		Short: "Run the declared functions in this process until it is told to stop",
		Long: "Run the declared functions in this process until it is interrupted or terminated.\n" +
			"It then deals with what has arrived, for at most the plugin's grace period;\n" +
			"a second signal ends it at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // so that a second signal kills
			p, err := open(ctx)
			if ctx.Err() != nil { // told to stop before it began
				return nil
			}
			if err != nil {
				return err
			}
			names := channels
			if len(names) == 0 {
				if names, err = p.Channels(); err != nil {
					return err
				}
			}
			finished := make(chan struct{})
			defer close(finished)
			go func() {
				select {
				case <-p.Ready():
					fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", strings.Join(names, ", "))
				case <-finished:
				}
			}()
			return p.Listen(ctx, channels...)
		},
	}
	c.Flags().StringArrayVarP(&channels, "channel", "c", nil, "a channel to listen on; repeat it for several (default: all)")
	return c
}
