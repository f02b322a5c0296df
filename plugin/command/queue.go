package command

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorm-pubsub/pubsub/listener"
	pubsub "github.com/gorm-pubsub/pubsub/plugin"
)

// queue opens the application and returns its durable queue.
func queue(cmd *cobra.Command, open Open) (*pubsub.Plugin, *listener.Queue, error) {
	p, err := open(cmd.Context())
	if err != nil {
		return nil, nil, err
	}
	q, err := p.Queue()
	return p, q, err
}

func newStatus(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the subscriptions, and how many events wait for each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			all, err := q.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(out, "SUBSCRIPTION\tCHANNEL\tDELIVERY\tLISTENERS\tREADY\tSCHEDULED\tDEAD\tOLDEST")
			for _, s := range all {
				present, err := p.Listeners(cmd.Context(), s.Channel)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", s.Name, s.Channel, delivery(s), len(present), s.Ready, s.Scheduled, s.Dead, age(s.Oldest))
			}
			return out.Flush()
		},
	}
}

func delivery(s listener.Status) string {
	text := "durable"
	switch {
	case s.Broadcast:
		return "broadcast"
	case s.Ordered:
		text += ", ordered"
	}
	if !s.Paused.IsZero() {
		text += ", paused"
	}
	return text
}

// age tells how long ago something was.
func age(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return time.Since(at).Round(time.Second).String()
}

func newDead(open Open) *cobra.Command {
	var limit int
	var payload bool
	c := &cobra.Command{
		Use:   "dead [subscription]",
		Short: "Show the dead letters, one JSON object in each line",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			if limit == 0 {
				limit = math.MaxInt32
			}
			letters, err := q.Dead(cmd.Context(), argument(args), limit)
			if err != nil {
				return err
			}
			return printDead(cmd.OutOrStdout(), letters, payload)
		},
	}
	c.Flags().IntVarP(&limit, "limit", "n", 100, "how many to show at the most; 0 for all")
	c.Flags().BoolVar(&payload, "payload", false, "show the payloads, too")
	return c
}

func argument(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func printDead(out io.Writer, letters []listener.StoredEvent, payload bool) error {
	for _, l := range letters {
		line := struct {
			ID           int64           `json:"id"`
			Subscription string          `json:"subscription"`
			Channel      string          `json:"channel"`
			Op           string          `json:"op,omitempty"`
			Attempt      int             `json:"attempt"`
			Error        string          `json:"error"`
			Stack        string          `json:"stack,omitempty"`
			CreatedAt    time.Time       `json:"created_at"`
			DiedAt       time.Time       `json:"died_at"`
			Payload      json.RawMessage `json:"payload,omitempty"`
		}{ID: l.ID, Subscription: l.Subscription, Channel: l.Channel, Attempt: l.Attempt, Error: l.Error, Stack: l.Stack, CreatedAt: l.CreatedAt, DiedAt: l.DiedAt}
		if l.Op != 0 {
			line.Op = l.Op.String()
		}
		if payload {
			line.Payload = l.Payload
		}
		if err := json.NewEncoder(out).Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func newRedrive(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "redrive subscription [id]...",
		Short: "Put dead letters back into the queue: those with the numbers, or all of the subscription",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]int64, 0, len(args)-1)
			for _, text := range args[1:] {
				id, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return fmt.Errorf("%q is no event's number", text)
				}
				ids = append(ids, id)
			}
			_, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			n, err := q.Redrive(cmd.Context(), args[0], ids...)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d dead letters are in the queue again\n", n)
			}
			return err
		},
	}
}

func newPause(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "pause subscription",
		Short: "Keep a subscription's events in the queue until it is resumed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			return q.Pause(cmd.Context(), args[0])
		},
	}
}

func newResume(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "resume subscription",
		Short: "Have a paused subscription's events handled again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			return q.Resume(cmd.Context(), args[0])
		},
	}
}

func newRename(open Open) *cobra.Command {
	return &cobra.Command{
		Use:   "rename from to",
		Short: "Give a subscription's events and dead letters to another name",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, q, err := queue(cmd, open)
			if err != nil {
				return err
			}
			return q.Rename(cmd.Context(), args[0], args[1])
		},
	}
}
