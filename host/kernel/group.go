package kernel

import (
	"os/exec"
	"syscall"
)

// inOwnGroup makes cmd lead a process group, and its context's end kill all
// of that group.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
