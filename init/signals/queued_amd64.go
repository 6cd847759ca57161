package signals

import (
	"syscall"
	"unsafe"
)

// faults are the signals that end a Go program, or make it panic, unless they come
// from kill(2) or tgkill(2). Go takes all others for the processor's: also those of
// sigqueue(3) and fcntl(2) (F_SETSIG).
var faults = []syscall.Signal{
	syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE,
	syscall.SIGSEGV, syscall.SIGSTKFLT, syscall.SIGSYS,
}

// action is the kernel's struct sigaction.
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// next is Go's handler, which asSent calls. It is written before asSent is installed.
var next uintptr

// asSent is a signal handler. It has Go take what a process sent for the signal
// of kill(2): whatever has a code below 0, which the kernel never uses for a fault.
func asSent()

// addressOfAsSent returns where asSent begins.
func addressOfAsSent() uintptr

// treatQueuedAsSent puts asSent in front of Go's handler for faults. Where that
// fails, Go's own remains.
func treatQueuedAsSent() {
	for _, sig := range faults {
		var a action
		if !sigaction(sig, nil, &a) || a.handler <= 1 || a.handler == addressOfAsSent() {
			continue // SIG_DFL, SIG_IGN, or done before
		}
		next = a.handler
		a.handler = addressOfAsSent()
		sigaction(sig, &a, nil)
	}
}

func sigaction(sig syscall.Signal, set, old *action) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set.mask), 0, 0)
	return errno == 0
}
