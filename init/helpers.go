package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kios/init/apparmor"
	"kios/init/diskcmd"
	"kios/init/kmsg"
	"kios/init/mountcmd"
	"kios/init/provider"
	"kios/init/signals"
	"kios/internal/consoleline"
	"kios/internal/credprovider"
	"kios/internal/kubeletargs"
	"kios/internal/modprobe"
)

// helper does as its arguments say, and returns the exit code.
type helper = func(args []string, stdout, stderr io.Writer) int

// helpers are the programs that init is under other names, beside those for disks. The kubelet finds them as
// links in /bin. The kernel runs init for every program that it wants to have run
// (CONFIG_STATIC_USERMODEHELPER_PATH), whatever that is called: nobody can have it run
// another one, by writing to kernel.core_pattern, say.
var helpers = map[string]helper{
	"apparmor_parser": apparmor.Parser,
	"mount":           mountcmd.Mount,
	"umount":          mountcmd.Umount,
	"modprobe":        modprobe.Command,
	// The kernel runs these when the hypervisor (Hyper-V) or the temperature asks for
	// the end: see orderly_poweroff in kernel/reboot.c. If they fail, it cuts the power.
	"poweroff": tell(signals.PowerButton),
	"reboot":   tell(signals.CtrlAltDel),
	// The kernel asks for these as well, and does without: keys come from those who
	// have them, and bridges use the kernel's own spanning tree. There is no line for
	// them, because a pod may cause as many calls as it wants.
	"request-key": refuse,
	"bridge-stp":  refuse,
}

// help runs the helper that the name of the program, argv[0], asks for, and returns
// its exit code. The programs of the kernel have no output, so what nobody knows is
// also logged.
func help(argv []string, stdout, stderr io.Writer, log func() *kmsg.Log) int {
	program := strings.Join(argv[:min(len(argv), 1)], "")
	if provider.Is(program) {
		return provider.Call{
			Program: program, Args: argv[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: stdout, Stderr: stderr,
			Programs: kubeletargs.ProviderDir, Socket: credprovider.Socket,
		}.Run()
	}
	name := filepath.Base(program)
	for _, names := range []map[string]helper{helpers, diskcmd.Commands} {
		if run, known := names[name]; known {
			return run(argv[1:], stdout, stderr)
		}
	}
	if name == "init" {
		fmt.Fprintln(stderr, "init: this is PID 1 of kiOS, and a few programs under other names; it does nothing else")
		return 2
	}
	fmt.Fprintf(stderr, "%s: kiOS has no such program\n", name)
	log().Warn("the kernel or a pod runs %q, which this node does not have", consoleline.Clean(strings.Join(argv, " "), 200))
	return 127 // as a shell has it
}

func refuse([]string, io.Writer, io.Writer) int { return 1 }

// tell returns the helper that sends PID 1 a signal.
func tell(sig syscall.Signal) helper {
	return func(_ []string, _, stderr io.Writer) int {
		if err := syscall.Kill(1, sig); err != nil {
			fmt.Fprintf(stderr, "send PID 1 %s: %v\n", signals.Name(sig), err)
			return 1
		}
		return 0
	}
}
