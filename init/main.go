// Init is PID 1 of kiOS. In the initramfs it is stage 1, which moves into the
// root file system; there it is stage 2, which brings the node up, keeps it up
// and stops it. Under the names mount, umount and modprobe it is those, for the
// kubelet and the kernel.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kios/init/apparmor"
	"kios/init/boot"
	"kios/init/diskcmd"
	"kios/init/kmsg"
	"kios/init/mount"
	"kios/init/mountcmd"
	"kios/init/switchroot"
	"kios/init/systembus"
	"kios/internal/cmdline"
	"kios/internal/modprobe"

	"golang.org/x/sys/unix"
)

func main() {
	if run, known := diskcmd.Commands[filepath.Base(os.Args[0])]; known {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	switch filepath.Base(os.Args[0]) {
	case "apparmor_parser":
		os.Exit(apparmor.Parser(os.Args[1:], os.Stdout, os.Stderr))
	case "mount":
		os.Exit(mountcmd.Mount(os.Args[1:], os.Stdout, os.Stderr))
	case "umount":
		os.Exit(mountcmd.Umount(os.Args[1:], os.Stdout, os.Stderr))
	case "modprobe":
		os.Exit(modprobe.Command(os.Args[1:], os.Stdout, os.Stderr))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is PID 1 of kiOS, and mount, umount and modprobe under those names; it does nothing else")
		os.Exit(2)
	}
	if switchroot.InInitramfs() {
		enterRoot()
	}
	node := boot.New()
	finish(node.Run(), node.Log)
}

// enterRoot is stage 1. It does not return.
func enterRoot() {
	err := switchroot.Run(os.Args)
	log := kmsg.New(os.Stderr)
	if f, openErr := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); openErr == nil {
		log = kmsg.New(f)
	}
	finish(boot.Outcome{
		Failure: err,
		Remedy:  "the initramfs and the kernel do not fit together, or the EFI file is damaged: write it again",
		StayUp:  stayUp(),
	}, log)
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
