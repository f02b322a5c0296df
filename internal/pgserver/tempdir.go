package pgserver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// longestSocketDir leaves room for "/.s.PGSQL.5432" in the shortest limit that
// systems set on the path of a unix socket: 104 bytes with the closing zero.
const longestSocketDir = 104 - 1 - len("/.s.PGSQL.5432")

// tempDirs are the folders in which a server's folder may be made, best first.
func tempDirs() []string {
	dirs := append(memoryDirs(), os.TempDir(), "/tmp")
	return slices.Compact(dirs)
}

// fitting are those dirs in which a socket folder called name can be used: the path
// must be absolute and short, and free of what unix_socket_directories separates by.
func fitting(dirs []string, name string) []string {
	var out []string
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if filepath.IsAbs(dir) && len(path) <= longestSocketDir && !strings.ContainsAny(path, ",\"\n") {
			out = append(out, dir)
		}
	}
	return out
}
