package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// describe prints on what the measurements are made.
func (b *bench) describe(ctx context.Context) error {
	machine, err := b.machine(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(b.out, strings.Join(machine, "\n"))
	return err
}

func (b *bench) machine(ctx context.Context) ([]string, error) {
	conn, err := pgx.Connect(ctx, b.server.URL())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var version string
	if err := conn.QueryRow(ctx, "SELECT split_part(version(), ' on ', 1)").Scan(&version); err != nil {
		return nil, err
	}
	fsync, err := fsyncCost(b.server.dir)
	if err != nil {
		return nil, err
	}
	row := newReading(123)
	row.ID = 123
	payload, err := row.payload()
	if err != nil {
		return nil, err
	}
	var set []string
	for _, s := range settings {
		set = append(set, s[0]+"="+s[1])
	}
	return []string{
		fmt.Sprintf("Machine: %d cores%s, %s/%s, %s; an fsync of 8 kB takes %s (median)", runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, runtime.Version(), fsync),
		fmt.Sprintf("Server: %s, %s; rows of %d bytes as JSON", version, strings.Join(set, " "), len(payload)),
		"Sizes: " + b.size.String(),
	}, nil
}

// processor is the processor's name, where that is easily had.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}

// fsyncCost is what it takes to overwrite a page of a file and have it on disk.
func fsyncCost(dir string) (cost time.Duration, err error) {
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, 8192)
	var times []float64
	for range 300 {
		start := time.Now()
		if _, err := file.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return time.Duration(median(times) * float64(time.Second)).Round(time.Microsecond), nil
}
