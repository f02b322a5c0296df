package command

import (
	"fmt"

	"github.com/spf13/cobra"

	pubsub "github.com/gorm-pubsub/pubsub/plugin"
	"github.com/gorm-pubsub/pubsub/triggers"
)

func newMigrate(open Open) *cobra.Command {
	var sql, check, prune bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the triggers of the declared listeners up to date",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := open(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case sql:
				script, err := p.SQL(cmd.Context())
				if err == nil {
					fmt.Fprint(cmd.OutOrStdout(), script)
				}
				return err
			case check:
				if err := p.Verify(cmd.Context()); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "everything is up to date")
				return nil
			}
			return migrate(cmd, p, prune)
		},
	}
	c.Flags().BoolVar(&sql, "sql", false, "print the SQL instead of running it")
	c.Flags().BoolVar(&check, "check", false, "change nothing, and fail when something is missing, outdated or disabled")
	c.Flags().BoolVar(&prune, "prune", false, "drop the triggers and subscriptions, with their events, that nothing declares any more, too")
	c.MarkFlagsMutuallyExclusive("sql", "check", "prune")
	return c
}

func migrate(cmd *cobra.Command, p *pubsub.Plugin, prune bool) error {
	before, err := p.Plan(cmd.Context())
	if err != nil {
		return err
	}
	if err := p.Migrate(cmd.Context()); err != nil {
		return err
	}
	out, todo := cmd.OutOrStdout(), before.Todo()
	for _, item := range todo {
		fmt.Fprintf(out, "installed: trigger %q on %s for channel %q\n", item.Trigger, item.Table, item.Channel)
	}
	var orphans []triggers.Item
	if prune {
		pruned, err := p.PruneSubscriptions(cmd.Context())
		if err != nil {
			return err
		}
		for _, s := range pruned {
			fmt.Fprintf(out, "dropped: subscription %q on channel %q with %d events\n", s.Name, s.Channel, s.Ready+s.Scheduled)
		}
		if orphans, err = p.Prune(cmd.Context()); err != nil {
			return err
		}
		for _, item := range orphans {
			fmt.Fprintf(out, "dropped: trigger %q on %s\n", item.Trigger, item.Table)
		}
	} else {
		for _, item := range before.Orphans() {
			fmt.Fprintf(out, "%s; migrate --prune drops it\n", item)
		}
	}
	if len(todo)+len(orphans) == 0 {
		fmt.Fprintln(out, "everything is up to date")
	}
	return nil
}
