package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-pubsub/pubsub/internal/pgserver"
)

// settings are the same for everybody. What fsync and full_page_writes do is
// what a queue on a production server pays for.
var settings = [][2]string{
	{"fsync", "on"},
	{"synchronous_commit", "on"},
	{"full_page_writes", "on"},
	{"shared_buffers", "512MB"},
	{"max_connections", "200"},
	{"max_wal_size", "4GB"},
	{"autovacuum", "on"},
}

// server is a Postgres whose data is on a disk.
type server struct {
	*pgserver.Server
	dir string
}

// The folder of a server of pgserver is in memory where that can be had, and
// there fsync does nothing. So pgserver gets wrappers around the binaries, which
// put the data on the disk. It has the wrappers' folder from $PGBIN.
//
// The data goes when the shell that supervises the server has ended, also after
// this process was killed.
const (
	initdbWrapper = `#!/bin/sh
# pgserver calls: initdb -D FOLDER …
set -e
mkdir -m 700 %[2]s/data
ln -s %[2]s/data "$2"
( trap '' HUP INT TERM
  while kill -0 "$PPID" 2>/dev/null; do sleep 1; done
  rm -rf %[2]s/data ) </dev/null &
exec %[1]s/initdb "$@"
`
	postgresWrapper = `#!/bin/sh
%[3]sexec %[1]s/postgres "$@"
`
)

// startServer starts a server with its data in a new folder in parent. preload
// is a library that is loaded into it, or nothing.
func startServer(ctx context.Context, parent string, anyDisk bool, preload string) (s *server, err error) {
	bin, err := binaries(ctx)
	if err != nil {
		return nil, err
	}
	if err := realDisk(parent); err != nil && !anyDisk {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "pubsub-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := wrap(bin, dir, preload); err != nil {
		return nil, err
	}
	var opts []pgserver.Option
	for _, s := range settings {
		opts = append(opts, pgserver.Setting(s[0], s[1]))
	}
	started, err := startFrom(ctx, filepath.Join(dir, "bin"), opts...)
	if err != nil {
		return nil, err
	}
	s = &server{Server: started, dir: dir}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, started.Stop())
	}
	return s, nil
}

// wrap writes the wrappers. Whoever the server runs as reads them, and makes the
// data folder beside them.
func wrap(bin, dir, preload string) error {
	if preload != "" {
		preload = "LD_PRELOAD=" + quote(preload) + " "
	}
	disk := filepath.Join(dir, "disk")
	for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, "bin"): 0o755, disk: 0o777} {
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			return err
		}
	}
	for name, script := range map[string]string{"initdb": initdbWrapper, "postgres": postgresWrapper} {
		path := filepath.Join(dir, "bin", name)
		text := strings.NewReplacer("%[1]s", quote(bin), "%[2]s", quote(disk), "%[3]s", preload).Replace(script)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// check fails unless the server has the settings.
func (s *server) check(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, want := range settings {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", want[0]).Scan(&value); err != nil {
			return err
		}
		if value != want[1] {
			return fmt.Errorf("the server has %s=%s, not %s", want[0], value, want[1])
		}
	}
	return nil
}

func (s *server) stop() error { return errors.Join(s.Stop(), os.RemoveAll(s.dir)) }

// binaries returns the folder of the machine's Postgres binaries: that of the
// server that pgserver would start by itself.
var binaries = func() func(context.Context) (string, error) {
	var mu sync.Mutex
	var found string
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if found != "" {
			return found, nil
		}
		dir, err := findBinaries(ctx)
		if err == nil {
			found = dir
		}
		return dir, err
	}
}()

func findBinaries(ctx context.Context) (dir string, err error) {
	s, err := startFrom(ctx, os.Getenv("PGBIN"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, "SELECT setting FROM pg_config WHERE name = 'BINDIR'").Scan(&dir); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return "", fmt.Errorf("this needs local Postgres binaries, and has %s: %w", s.Origin(), err)
	}
	return dir, nil
}

// startFrom starts a server from the binaries in a folder, or from where pgserver
// finds some. A given DATABASE_URL has no say: its disk and its settings are unknown.
func startFrom(ctx context.Context, bin string, opts ...pgserver.Option) (*pgserver.Server, error) {
	for name, value := range map[string]string{"PGBIN": bin, "DATABASE_URL": ""} {
		before, had := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
		defer func() {
			if had {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		}()
	}
	return pgserver.Start(ctx, opts...)
}
