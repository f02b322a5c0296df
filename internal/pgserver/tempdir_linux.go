package pgserver

import "syscall"

// memoryDirs are folders in memory with a gigabyte to spare.
func memoryDirs() []string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &fs); err != nil {
		return nil
	}
	if fs.Bavail*uint64(fs.Bsize) < 1<<30 { //nolint:gosec // a block's size is positive
		return nil
	}
	return []string{"/dev/shm"}
}
