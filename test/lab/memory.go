package lab

import "runtime"

// Allocated returns how many bytes f allocates. Whatever a stranger sends must be
// read in little memory.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
