//go:build !linux

package pgserver

// memoryDirs are folders in memory with a gigabyte to spare.
func memoryDirs() []string { return nil }
