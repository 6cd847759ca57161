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

// inFrontOf returns the address of a signal handler that calls another one, Go's. It
// has that take whatever a process sent for the signal of kill(2): whatever has a code
// below 0, which the kernel never uses for a fault, and SIGSTKFLT. There is one such handler, so the
// other one must always be the same.
func inFrontOf(handler uintptr) uintptr

// treatQueuedAsSent puts that in front of Go's handler for faults. Where that fails,
// Go's own remains.
func treatQueuedAsSent() {
	for _, sig := range faults {
		var a action
		if sigaction(sig, nil, &a) && a.handler > 1 { // neither SIG_DFL nor SIG_IGN
			a.handler = inFrontOf(a.handler)
			sigaction(sig, &a, nil)
		}
	}
}

// libc are the signals that Go may leave alone, because C libraries have them (see
// sigtab_linux_generic.go of package runtime).
var libc = []syscall.Signal{32, 33, 34}

// catchRest has those of them that Go does not catch do nothing. The kernel drops what PID 1
// does not catch, but not where the first thread blocks signals, as Go has threads do that
// start another one: then the signal ends all threads (sig_ignored and complete_signal in
// the kernel's signal.c). Signals that are ignored would be so in the daemons, too.
func catchRest() {
	var a action
	if !sigaction(syscall.SIGHUP, nil, &a) || a.handler <= 1 {
		return
	}
	a.handler = nothing() // the rest is as Go has it: another stack, and the way back
	for _, sig := range libc {
		var now action
		if sigaction(sig, nil, &now) && now.handler == 0 {
			sigaction(sig, &a, nil)
		}
	}
}

// nothing returns the address of a signal handler that does nothing.
func nothing() uintptr

func sigaction(sig syscall.Signal, set, old *action) bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set.mask), 0, 0)
	return errno == 0
}
