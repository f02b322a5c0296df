package pgserver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersOrderVersions(t *testing.T) {
	t.Parallel()
	dirs := []string{"/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/10/bin"}
	slices.SortFunc(dirs, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	require.Equal(t, []string{"/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/10/bin", "/usr/lib/postgresql/9.6/bin"}, dirs)
}

func TestBinaryDirs(t *testing.T) {
	t.Parallel()
	good, half, plain := t.TempDir(), t.TempDir(), t.TempDir()
	write := func(dir, name string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode))
	}
	write(good, "initdb", 0o700)
	write(good, "postgres", 0o700)
	write(half, "initdb", 0o700)
	write(plain, "initdb", 0o700)
	write(plain, "postgres", 0o600)
	found := binaryDirs(strings.Join([]string{half, plain, ".", "", good}, string(filepath.ListSeparator)))
	require.NotEmpty(t, found)
	require.Equal(t, good, found[0])
	require.NotContains(t, found, half)
	require.NotContains(t, found, plain)
	require.NotContains(t, found, ".")
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkVersion("postgres (PostgreSQL) 13.23\n"))
	require.NoError(t, checkVersion("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"))
	require.NoError(t, checkVersion("postgres (PostgreSQL) 19devel\n"))
	require.ErrorContains(t, checkVersion("postgres (PostgreSQL) 12.22\n"), "12")
	require.ErrorContains(t, checkVersion("hello\n"), "hello")
}

func TestFitting(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", 90)
	require.Equal(t, []string{"/dev/shm", "/tmp"}, fitting([]string{"/dev/shm", long, "/a,b", "relative", "/tmp"}, "pubsub-pg-1-x"))
	require.NotEmpty(t, fitting(tempDirs(), "pubsub-pg-4194304-abcdefgh"))
}
