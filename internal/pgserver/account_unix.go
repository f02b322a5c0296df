//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// attributes are those of a process that may run Postgres: in a session of its own,
// where neither Ctrl-C nor the end of a terminal reaches it, and, because Postgres
// refuses to run as root, as another user then. name is that user's name.
func attributes() (attr *syscall.SysProcAttr, name string, err error) {
	attr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() != 0 {
		return attr, "this user", nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := id(account.Uid)
		if err != nil {
			return nil, "", err
		}
		gid, err := id(account.Gid)
		if err != nil {
			return nil, "", err
		}
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		return attr, "the user " + name, nil
	}
	return nil, "", absentf("Postgres can't run as root, and there is neither a user postgres nor a user nobody")
}

// id parses a user or group number; macOS writes that of nobody as -2.
func id(text string) (uint32, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("user number: %w", err)
	}
	return uint32(n), nil //nolint:gosec // -2 wraps around, as meant
}

// owned reports whether this process's user owns a file.
func owned(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
