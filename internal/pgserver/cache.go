package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// cacheDirs are the folders that may hold a download, best first. Root's own cache
// folder is closed to the user that Postgres runs as, so root has another.
func cacheDirs() []string {
	temp := filepath.Join(os.TempDir(), "gorm-pubsub-"+strconv.Itoa(os.Geteuid()))
	if os.Geteuid() == 0 {
		if _, err := os.Stat("/var/cache"); err == nil {
			return []string{"/var/cache/gorm-pubsub", temp}
		}
		return []string{temp}
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return []string{temp}
	}
	return []string{filepath.Join(dir, "gorm-pubsub"), temp}
}

// ownFolder makes the first of dirs that can be made and trusted, and returns it.
// Programs are run from there, so nobody else may be able to write in it: in a
// shared folder like /tmp another user could have made it first.
func ownFolder(dirs []string) (string, error) {
	var errs []error
	for _, dir := range dirs {
		err := makeOwn(dir)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func makeOwn(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // another user runs programs from it
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !owned(info) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s isn't a folder that only this user can write to", dir)
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // likewise, whatever the umask
}
