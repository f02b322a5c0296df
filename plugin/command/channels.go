package command

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newChannels(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "channels",
		Short: "List the channels, and which sessions listen on them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := open(cmd.Context())
			if err != nil {
				return err
			}
			channels, err := p.Channels()
			if err != nil {
				return err
			}
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(out, "CHANNEL\tLISTENERS\tPID\tAPPLICATION\tADDRESS\tSINCE")
			for _, channel := range channels {
				sessions, err := p.Listeners(cmd.Context(), channel)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "%s\t%d\t\t\t\t\n", channel, len(sessions))
				for _, s := range sessions {
					address := s.Address
					if address == "" {
						address = "local"
					}
					fmt.Fprintf(out, "\t\t%d\t%s\t%s\t%s\n", s.PID, s.Application, address, s.Since.Format(time.DateTime))
				}
			}
			return out.Flush()
		},
	}
}
