package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed preload/slowfsync.c
var slowFsyncSource string

// startSlowServer starts a server each of whose fsyncs takes a millisecond more.
func startSlowServer(ctx context.Context, parent string, anyDisk bool) (s *server, err error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("slow fsyncs need Linux, and this is %s: leave out commits-slow with -only", runtime.GOOS)
	}
	dir, err := os.MkdirTemp(parent, "pubsub-bench-lib-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }() // the server has loaded it by then
	library, err := compile(ctx, dir)
	if err != nil {
		return nil, err
	}
	if s, err = startServer(ctx, parent, anyDisk, library); err != nil {
		return nil, err
	}
	if err := s.checkSlow(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func compile(ctx context.Context, dir string) (library string, err error) {
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return "", errors.New("slow fsyncs need gcc, to compile a library that is preloaded; install it, or leave out commits-slow with -only")
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user reads it
		return "", err
	}
	source, library := filepath.Join(dir, "slowfsync.c"), filepath.Join(dir, "slowfsync.so")
	if err := os.WriteFile(source, []byte(slowFsyncSource), 0o644); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return library, os.Chmod(library, 0o755)
}

// checkSlow fails unless a commit waits for a slow fsync.
func (s *server) checkSlow(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE slow (n int)"); err != nil {
		return err
	}
	fastest := time.Hour
	for range 20 {
		start := time.Now()
		if _, err := conn.Exec(ctx, "INSERT INTO slow VALUES (1)"); err != nil {
			return err
		}
		fastest = min(fastest, time.Since(start))
	}
	if fastest < time.Millisecond {
		return fmt.Errorf("a commit took only %s: the server doesn't use the preloaded library", fastest)
	}
	_, err = conn.Exec(ctx, "DROP TABLE slow")
	return err
}
