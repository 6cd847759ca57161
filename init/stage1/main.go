// Stage1 is /init of the initramfs: it moves into the root file system and becomes
// init, PID 1 of kiOS, there. It is a program of its own because it lies in kios.efi
// uncompressed: init is four times as large.
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"kios/init/ending"
	"kios/init/kmsg"
	"kios/init/mount"
	"kios/init/rlimit"
	"kios/init/signals"
	"kios/init/switchroot"
	"kios/internal/cmdline"
)

func main() {
	caught := signals.Catch() // first of all: until then a signal ends PID 1
	go caught.LogStrays(func(format string, args ...any) { kmsg.Kernel().Warn(format, args...) })
	if err := rlimit.Set(); err != nil {
		kmsg.Kernel().Warn("%v", err)
	}
	err := switchroot.Run(os.Args)
	ending.Fail(ending.Failure{
		Err:    err,
		Remedy: "the initramfs and the kernel do not fit together, or the EFI file is damaged: write it again",
		StayUp: stayUp(),
	}, kmsg.Kernel())
}

// stayUp reads whether the kernel's command line has panic=0. Stage 1 needs no other
// option.
func stayUp() bool {
	unix.Mount("proc", "/proc", "proc", mount.Strict, "")
	line, _ := os.ReadFile("/proc/cmdline")
	options, _ := cmdline.Parse(string(line)).Options()
	return options.StayUp
}
