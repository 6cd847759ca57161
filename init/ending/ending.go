// Package ending is how PID 1 ends the machine, in both stages: PID 1 itself must not
// return, or the kernel panics.
package ending

import (
	"time"

	"golang.org/x/sys/unix"

	"kios/init/kmsg"
)

// failDelay leaves time to read the console.
const failDelay = 10 * time.Second

// Failure is why the machine cannot go on.
type Failure struct {
	Err    error
	Remedy string // what a person can do
	StayUp bool   // leave the machine as it is (panic=0)
	// Save, unless it is nil, puts what the machine has on its disks in safety.
	Save func()
}

// Fail tells of a failure and restarts the machine. It does not return.
func Fail(f Failure, log *kmsg.Log) {
	Sync()
	log.Error("the node cannot go on: %v", f.Err)
	log.Error("what to do: %s", f.Remedy)
	if f.StayUp {
		log.Error("panic=0 was given, so the machine stays as it is")
		sleep()
	}
	log.Error("the machine restarts in %v (panic=0 on the kernel command line keeps it up)", failDelay)
	if f.Save != nil {
		f.Save() // what is written from now on would be lost
	}
	time.Sleep(failDelay)
	Reboot(unix.LINUX_REBOOT_CMD_RESTART, log)
}

// Sync writes what is left to write, within a bound: a disk or a server that is gone
// must not keep the machine from its end.
func Sync() {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
	}
}

// Reboot ends the machine as reboot(2) has it. It does not return, even if the kernel
// refuses.
func Reboot(how int, log *kmsg.Log) {
	err := unix.Reboot(how)
	log.Error("the kernel does not end the machine: %v; switch it off", err)
	sleep()
}

// sleep does not return. Blocking for ever would count as a deadlock if this
// is the only goroutine, and end the program.
func sleep() {
	for {
		time.Sleep(time.Hour)
	}
}
