package netns

import (
	"os/exec"
	"runtime"
	"syscall"
)

// StartBound starts a command that does not outlive this process, however that
// ends, and closes done when the command has ended. A test binary that go test
// kills after its -timeout runs no cleanup.
//
// The kernel sends the signal when the thread that started the command ends, so
// the goroutine keeps its thread for as long as the command runs.
func StartBound(cmd *exec.Cmd) (done <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	return ended, <-started
}
