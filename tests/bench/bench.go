package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// bench is one run of the program.
type bench struct {
	out    io.Writer
	rounds int
	size   size
	dir    string
	quick  bool
	who    *regexp.Regexp
	groups []group

	server, slow *server // slow is started by the first who needs it
}

// group is a set of contenders that are measured in turn.
type group struct {
	key, title string
	contenders []contender
	bars       []bar
}

// contender is one of those who are compared.
type contender struct {
	name string
	slow bool // on the server with slow fsyncs
	run  func(ctx context.Context, size size, db *database) (figures, error)
}

// figures are what one measurement found, such as "events/s": 1000.
type figures map[string]float64

// bar is what the ratio of two contenders' figures has to reach.
type bar struct {
	title         string
	of, against   figure
	least, atMost float64 // one of them is 0; both, when the ratio is for information
}

// figure names a contender's figure.
type figure struct{ contender, name string }

var groups = []group{
	drainGroup, onceGroup, liveGroup, largeGroup, snapshotGroup, latencyGroup, commitsGroup, commitsSlowGroup, copyGroup,
}

// run measures all groups.
func (b *bench) run(ctx context.Context) (err error) {
	if b.server, err = startServer(ctx, b.dir, b.quick, ""); err != nil {
		return err
	}
	defer func() {
		for _, s := range []*server{b.server, b.slow} {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	if err := b.describe(ctx); err != nil {
		return err
	}
	var all []result
	for _, g := range b.groups {
		r, err := b.measure(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.key, err)
		}
		r.print(b.out)
		all = append(all, r)
	}
	return b.summary(ctx, all)
}

// measure measures a group's contenders round by round.
func (b *bench) measure(ctx context.Context, g group) (result, error) {
	r := result{group: g, rounds: make([]round, b.rounds), quick: b.quick}
	fmt.Fprintf(b.out, "\n== %s: %s\n", g.key, g.title)
	for i := range r.rounds {
		r.rounds[i] = round{}
		for k := range g.contenders {
			c := g.contenders[(i+k)%len(g.contenders)] // who comes first may have an advantage
			if !b.who.MatchString(c.name) {
				continue
			}
			found, err := b.once(ctx, c)
			if err != nil {
				return r, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(b.out, "   round %d  %-52s %s\n", i+1, c.name, found)
			r.rounds[i][c.name] = found
		}
	}
	return r, nil
}

// once measures a contender once, in a database of its own.
func (b *bench) once(ctx context.Context, c contender) (found figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.size.limit, fmt.Errorf("not done within %s", b.size.limit))
	defer cancel()
	s := b.server
	if c.slow {
		if b.slow == nil {
			if b.slow, err = startSlowServer(ctx, b.dir, b.quick); err != nil {
				return nil, err
			}
		}
		s = b.slow
	}
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.close(context.WithoutCancel(ctx))) }()
	found, err = c.run(ctx, b.size, db)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, fmt.Errorf("%w (%w)", cause, err)
	}
	return found, err
}

func (b *bench) summary(ctx context.Context, all []result) error {
	machine, err := b.machine(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n%s\n\n%s", strings.Join(machine, "\n"), markdown(all, b.rounds))
	if b.quick {
		fmt.Fprintln(b.out, "\nA quick run shows that everything works; its figures say nothing.")
	}
	return nil
}
