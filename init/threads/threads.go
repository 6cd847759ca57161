// Package threads keeps threads ready. Go ends a program that needs another thread and
// gets none, and the kernel panics when PID 1 ends: a pod that starts threads until the
// kernel has no more must not do that. Go never ends a thread that has become idle.
package threads

import (
	"runtime"
	"sync"
)

// A program of Go has a thread for each goroutine that runs, which is no more than
// GOMAXPROCS, and for each that is in a system call that waits.
const (
	maxRunning = 4  // PID 1 has little to compute, on however many processors
	maxWaiting = 12 // files, the clock, processes that are being started
)

// Reserve makes the threads that PID 1 needs at most.
func Reserve() {
	runtime.GOMAXPROCS(min(runtime.NumCPU(), maxRunning))
	hold(maxRunning + maxWaiting)
}

// hold has that many goroutines hold a thread each, all at the same time, and lets
// them go.
func hold(count int) {
	var there, gone sync.WaitGroup
	release := make(chan struct{})
	there.Add(count)
	for range count {
		gone.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			there.Done()
			<-release
		})
	}
	there.Wait()
	close(release)
	gone.Wait()
}
