package hosttool

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a program may take to clean up when its context ends. The go
// command then deletes gigabytes of temporary files.
const grace = 15 * time.Second

// Exec is exec.CommandContext for programs that clean up behind them. When the
// context ends, the program and all that it has started are interrupted (SIGINT), as
// Ctrl-C would do. What is left after a third of the grace period ignores that, as
// what a shell runs in the background does, and gets SIGTERM. At its end the program
// is killed.
//
// They form a process group of their own, so that Ctrl-C in a terminal reaches them
// once, and only through us: some programs take a second signal as "at once".
func Exec(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		time.AfterFunc(grace/3, func() { syscall.Kill(group, syscall.SIGTERM) })
		return syscall.Kill(group, syscall.SIGINT)
	}
	cmd.WaitDelay = grace
	return cmd
}
