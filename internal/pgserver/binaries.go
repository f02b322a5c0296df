package pgserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldest is the first major version that this package runs: DROP DATABASE … WITH
// (FORCE) is from 13.
const oldest = 13

// usualPlaces are where packages put Postgres binaries when they aren't in $PATH.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // PGDG packages for Red Hat and its kin
	"/usr/lib/postgresql[1-9]*/bin",                      // SUSE
	"/usr/libexec/postgresql[1-9]*",                      // Alpine
	"/usr/lib64/postgresql-*/bin",                        // Gentoo
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/opt/local/lib/postgresql[1-9]*/bin",                // MacPorts
	"/usr/local/pgsql/bin",                               // make install
}

var localSource = source{"local binaries", func(ctx context.Context, cfg *config) (*Server, error) {
	if dir := cfg.getenv("PGBIN"); dir != "" {
		if err := usable(ctx, dir); err != nil {
			// No %w: somebody meant these binaries, so they are never passed over as absent.
			return nil, fmt.Errorf("$PGBIN is %s: %v", dir, err) //nolint:errorlint // see above
		}
		return run(ctx, cfg, dir, "local binaries "+dir)
	}
	var reasons []string
	for _, dir := range binaryDirs(cfg.getenv("PATH")) {
		err := usable(ctx, dir)
		if err == nil {
			return run(ctx, cfg, dir, "local binaries "+dir)
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v", dir, err))
	}
	if len(reasons) > 0 {
		return nil, absentf("%s", strings.Join(reasons, "\n"))
	}
	return nil, absentf("no initdb and postgres in $PATH nor in %s", strings.Join(usualPlaces, ", "))
}}

// binaryDirs lists the folders that have the binaries, best first.
func binaryDirs(path string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if filepath.IsAbs(dir) && hasBinaries(dir) == nil {
			dirs = append(dirs, dir)
		}
	}
	var usual []string
	for _, pattern := range usualPlaces {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			if hasBinaries(dir) == nil {
				usual = append(usual, dir)
			}
		}
	}
	slices.SortStableFunc(usual, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	return append(dirs, usual...)
}

func hasBinaries(dir string) error {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return fmt.Errorf("%s isn't executable", filepath.Join(dir, name))
		}
	}
	return nil
}

var digits = regexp.MustCompile(`\d+`)

// numbers are a path's version number, compared number by number: 9.6 < 10 < 16.
func numbers(path string) []int {
	var out []int
	for _, text := range digits.FindAllString(path, -1) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// checkVersion looks at what postgres --version prints.
func checkVersion(output string) error {
	match := versionLine.FindStringSubmatch(output)
	if match == nil {
		return fmt.Errorf("postgres --version prints %q", strings.TrimSpace(output))
	}
	if major, err := strconv.Atoi(match[1]); err != nil || major < oldest {
		return fmt.Errorf("it is version %s; %d or later is needed", match[1], oldest)
	}
	return nil
}
