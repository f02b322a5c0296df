package main

import (
	"fmt"
	"syscall"
)

// tmpfs is the number of the file system that is in memory.
const tmpfs = 0x01021994

// realDisk fails for a folder in memory.
func realDisk(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if fs.Type == tmpfs {
		return fmt.Errorf("%s is in memory, where fsync costs nothing: name a folder on a disk with -dir", dir)
	}
	return nil
}
