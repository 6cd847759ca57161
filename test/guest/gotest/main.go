// Command gotest is the only program of a small virtual machine that runs unit
// tests as root: PID 1. It mounts what tests may expect, runs the test binaries
// that /tests.json lists, frames their output on the console so that the host
// can tell it from the kernel's, and switches the machine off.
//
// The frames (see package kios/test/vm, which reads them):
//
//	@@ start PACKAGE
//	@| a line of the test's output
//	@@ end PACKAGE EXITCODE
//	@@ done
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Test is an entry of /tests.json.
type Test struct {
	Package string
	Binary  string
	Dir     string // where it runs; its testdata is there
	Run     string // the value of -test.run
	Timeout string
}

func main() {
	if err := run(); err != nil {
		fmt.Printf("\n@@ failed %v\n", err)
	}
	unix.Sync()
	time.Sleep(100 * time.Millisecond) // the serial line has a buffer
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := leaveInitramfs(); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	data, err := os.ReadFile("/tests.json")
	if err != nil {
		return err
	}
	var tests []Test
	if err := json.Unmarshal(data, &tests); err != nil {
		return fmt.Errorf("parse /tests.json: %w", err)
	}
	for _, t := range tests {
		fmt.Printf("\n@@ start %s\n", t.Package)
		fmt.Printf("\n@@ end %s %d\n", t.Package, runTest(t))
	}
	fmt.Printf("\n@@ done\n")
	return nil
}

// leaveInitramfs makes the root a mount of its own, as it is on a node: no
// process can change its root away from the initramfs itself, see pivot_root(2).
func leaveInitramfs() error {
	if err := unix.Mount("/", "/root", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the root: %w", err)
	}
	if err := unix.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	return unix.Chroot(".")
}

func mountAll() error {
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"},
		{"tmpfs", "/run", "tmpfs"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.source, m.target, m.kind, 0, "")
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel may have mounted /dev
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// runTest returns the exit code of the test binary, or -1 if it was killed or
// could not be started.
func runTest(t Test) int {
	cmd := exec.Command(t.Binary, "-test.v", "-test.run", t.Run, "-test.timeout", t.Timeout)
	cmd.Dir = t.Dir
	cmd.Env = []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "GOTRACEBACK=all"}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		frame(out)
	}()
	err := cmd.Run()
	in.Close()
	<-printed
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Printf("@| %v\n", err)
		return -1
	}
	return 0
}

func frame(r io.Reader) {
	for b := bufio.NewReader(r); ; {
		line, err := b.ReadString('\n')
		if line != "" {
			if line[len(line)-1] != '\n' {
				line += "\n"
			}
			fmt.Print("@| " + line)
		}
		if err != nil {
			return
		}
	}
}
