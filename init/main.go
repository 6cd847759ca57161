// Init is PID 1 of kiOS. In the initramfs it is stage 1, which moves into the
// root file system; there it is stage 2, which brings the node up, keeps it up
// and stops it. Under other names (see helpers) it is what the kubelet and the kernel
// call.
package main

import (
	"os"
	"time"

	"kios/init/boot"
	"kios/init/kmsg"
	"kios/init/mount"
	"kios/init/rlimit"
	"kios/init/signals"
	"kios/init/switchroot"
	"kios/init/systembus"
	"kios/init/threads"
	"kios/internal/cmdline"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		os.Exit(help(os.Args, os.Stdout, os.Stderr, kernelLog))
	}
	caught := signals.Catch() // first of all: until then a signal ends PID 1
	if switchroot.InInitramfs() {
		enterRoot(caught)
	}
	err := rlimit.Protect() // before there are threads
	threads.Reserve()
	node := boot.New(caught)
	if err != nil {
		node.Log.Warn("other processes can set the limits of PID 1: %v", err)
	}
	finish(node.Run(), node.Log)
}

// enterRoot is stage 1. It does not return.
func enterRoot(caught signals.Caught) {
	go caught.LogStrays(func(format string, args ...any) { kernelLog().Warn(format, args...) })
	if err := rlimit.Set(); err != nil {
		kernelLog().Warn("%v", err)
	}
	err := switchroot.Run(os.Args)
	finish(boot.Outcome{
		Failure: err,
		Remedy:  "the initramfs and the kernel do not fit together, or the EFI file is damaged: write it again",
		StayUp:  stayUp(),
	}, kernelLog())
}

// kernelLog returns the kernel's log, or what is printed where there is no /dev.
func kernelLog() *kmsg.Log {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return kmsg.New(os.Stderr)
	}
	return kmsg.New(f)
}

// stayUp reads whether the kernel's command line has panic=0. Stage 1 needs no other
// option.
func stayUp() bool {
	unix.Mount("proc", "/proc", "proc", mount.Strict, "")
	line, _ := os.ReadFile("/proc/cmdline")
	options, _ := cmdline.Parse(string(line)).Options()
	return options.StayUp
}

// failDelay leaves time to read the console.
const failDelay = 10 * time.Second

// finish acts on the outcome of a boot. It does not return.
func finish(o boot.Outcome, log *kmsg.Log) {
	sync()
	if o.Failure == nil {
		restart(commands[o.Action], log)
	}
	log.Error("the node cannot go on: %v", o.Failure)
	log.Error("what to do: %s", o.Remedy)
	if o.StayUp {
		log.Error("panic=0 was given, so the machine stays as it is")
		sleep()
	}
	log.Error("the machine restarts in %v (panic=0 on the kernel command line keeps it up)", failDelay)
	if o.Save != nil {
		o.Save() // what is written from now on would be lost
	}
	time.Sleep(failDelay)
	restart(unix.LINUX_REBOOT_CMD_RESTART, log)
}

// sync writes what is left to write, within a bound: a disk or a server that is gone
// must not keep the machine from its end.
func sync() {
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

// commands are what the kernel is told for each way to end in order.
var commands = map[systembus.Action]int{
	systembus.PowerOff: unix.LINUX_REBOOT_CMD_POWER_OFF,
	systembus.Reboot:   unix.LINUX_REBOOT_CMD_RESTART,
	systembus.Halt:     unix.LINUX_REBOOT_CMD_HALT,
}

// restart tells the kernel to end the machine. PID 1 must not return even if
// that fails.
func restart(how int, log *kmsg.Log) {
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
