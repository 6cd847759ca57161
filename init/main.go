// Init is PID 1 of kiOS: it brings the node up, keeps it up and stops it. (What comes
// before, in the initramfs, is stage1.) Under other names (see helpers) it is what the
// kubelet and the kernel call.
package main

import (
	"os"

	"kios/init/boot"
	"kios/init/ending"
	"kios/init/kmsg"
	"kios/init/rlimit"
	"kios/init/signals"
	"kios/init/systembus"
	"kios/init/threads"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		os.Exit(help(os.Args, os.Stdout, os.Stderr, kmsg.Kernel))
	}
	caught := signals.Catch() // first of all: until then a signal ends PID 1
	err := rlimit.Protect()   // before there are threads
	threads.Reserve()
	node := boot.New(caught)
	if err != nil {
		node.Log.Warn("other processes can set the limits of PID 1: %v", err)
	}
	finish(node.Run(), node.Log)
}

// finish acts on the outcome of a boot. It does not return.
func finish(o boot.Outcome, log *kmsg.Log) {
	if o.Failure != nil {
		ending.Fail(ending.Failure{Err: o.Failure, Remedy: o.Remedy, StayUp: o.StayUp, Save: o.Save}, log)
	}
	ending.Sync()
	ending.Reboot(commands[o.Action], log)
}

// commands are what the kernel is told for each way to end in order.
var commands = map[systembus.Action]int{
	systembus.PowerOff: unix.LINUX_REBOOT_CMD_POWER_OFF,
	systembus.Reboot:   unix.LINUX_REBOOT_CMD_RESTART,
	systembus.Halt:     unix.LINUX_REBOOT_CMD_HALT,
}
