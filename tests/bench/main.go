// Command bench measures durable delivery, and in turn with it the peers River
// and watermill-sql, on one Postgres that it starts, with fsync on. It prints
// every round's figures, the medians, the ratios that the project holds itself
// to, and at the end a table in Markdown.
//
//	go -C tests/bench run .                        # everything, which takes about 20 minutes
//	go -C tests/bench run . -only drain,latency    # some groups
//	go -C tests/bench run . -quick                 # small: does everything still work?
//
// Each measurement has a fresh database, and VACUUM ANALYZE and a CHECKPOINT
// before it. Each checks that every event was handled exactly once. The
// contenders of a group take turns within a round, and each round begins with
// another one, so that a noisy machine hits all alike.
//
// It needs local Postgres binaries, and for the group commits-slow a C compiler
// on Linux; see -h for more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := command(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// command parses the flags and runs what they ask for.
func command(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "how often each contender is measured")
	events := flags.Int("events", 0, "how many events wait at the start of a drain (default 100000)")
	only := flags.String("only", "", "the groups to measure, separated by commas: "+strings.Join(groupKeys(), ", "))
	who := flags.String("who", "", "a regular expression: measure the contenders whose names match")
	quick := flags.Bool("quick", false, "run everything once with small numbers, to see that it works")
	dir := flags.String("dir", os.TempDir(), "a folder on a real disk, for the server's data")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{out: out, rounds: *rounds, size: fullSize(), dir: *dir, quick: *quick}
	if *quick {
		b.size, b.rounds = quickSize(), 1
	}
	if *events > 0 {
		b.size.drain, b.size.large = *events, 10**events
	}
	var err error
	if b.who, err = regexp.Compile(*who); err != nil {
		return fmt.Errorf("-who: %w", err)
	}
	if b.groups, err = chosen(*only); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case b.rounds < 1:
		return errors.New("-rounds must be 1 or more")
	}
	return b.run(ctx)
}

func groupKeys() []string {
	var keys []string
	for _, g := range groups {
		keys = append(keys, g.key)
	}
	return keys
}

// chosen returns the groups that are named, or all.
func chosen(names string) ([]group, error) {
	if names == "" {
		return groups, nil
	}
	var out []group
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(groups, func(g group) bool { return g.key == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-only: there is no group %q; there are %s", name, strings.Join(groupKeys(), ", "))
		}
		out = append(out, groups[i])
	}
	return out, nil
}
