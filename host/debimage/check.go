package debimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"kios/host/cache"
	"kios/host/oci"
	"kios/host/terminal"
)

// Runner prepares a root directory for running programs of another architecture in it, and
// returns what to run there in place of argv.
type Runner func(root string, argv []string) ([]string, error)

// Check runs argv in a root directory that holds nothing but the files, and
// demands that it succeeds and prints wantOutput. A runner is for programs that this
// machine cannot run by itself; nil if it can. Whoever is not root needs user
// namespaces (user_namespaces(7)).
func Check(ctx context.Context, files []oci.File, argv []string, wantOutput string, runner Runner) error {
	root, remove, err := cache.Scratch("debimage-")
	if err != nil {
		return err
	}
	defer remove()
	for _, f := range files {
		if err := f.Place(ctx, root); err != nil {
			return fmt.Errorf("place /%s: %w", f.Path, err)
		}
	}
	line := strings.Join(argv, " ")
	if runner != nil {
		if argv, err = runner(root, argv); err != nil {
			return fmt.Errorf("run %s in the image: %w", line, err)
		}
	}
	out, err := runIn(ctx, root, argv)
	if err != nil {
		return fmt.Errorf("run %s in the image: %w: %s", line, err, terminal.OneLine(out))
	}
	if !strings.Contains(out, wantOutput) {
		return fmt.Errorf("run %s in the image: it does not print %q, but: %s", line, wantOutput, terminal.OneLine(out))
	}
	return nil
}

// runIn runs argv with root as its root directory and returns all that it
// prints.
func runIn(ctx context.Context, root string, argv []string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
