//go:build !unix

package pgserver

import (
	"context"
	"os"
	"runtime"
)

func usable(context.Context, string) error {
	return absentf("not supported on %s", runtime.GOOS)
}

func run(context.Context, *config, string, string) (*Server, error) {
	return nil, absentf("not supported on %s", runtime.GOOS)
}

func owned(os.FileInfo) bool { return true }
