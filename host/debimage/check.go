package debimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"kios/host/cache"
	"kios/host/oci"
	"kios/host/terminal"
)

// emulator is where in the root directory the program is that runs the others, if this
// machine cannot.
const emulator = "/.emulator"

// Check runs argv in a root directory that holds nothing but the files, and
// demands that it succeeds and prints wantOutput. Programs of another architecture are
// run by the static program at the path qemu, which is "" for those of this machine's.
// Whoever is not root needs user namespaces (user_namespaces(7)).
func Check(ctx context.Context, files []oci.File, argv []string, wantOutput, qemu string) error {
	out, err := runAmong(ctx, files, argv, nil, qemu)
	if err == nil && !strings.Contains(out, wantOutput) {
		err = fmt.Errorf("it does not print %q, but: %s", wantOutput, terminal.OneLine(out))
	}
	if err != nil {
		return fmt.Errorf("run %s in the image: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// checkLoads is Check for a program that cannot work where the image is made. ld.so(8)
// loads it with all its libraries, finds what each of them takes from the others, and does
// not start it, as for "ldd -r".
func checkLoads(ctx context.Context, files []oci.File, program, qemu string) error {
	trace := []string{"LD_TRACE_LOADED_OBJECTS=1", "LD_WARN=1", "LD_BIND_NOW=1"}
	out, err := runAmong(ctx, files, []string{program}, trace, qemu)
	for line := range strings.Lines(out) {
		if err == nil && (strings.Contains(line, "not found") || strings.Contains(line, "undefined symbol")) {
			err = fmt.Errorf("%s", terminal.OneLine(line))
		}
	}
	// Nothing is loaded by a static program: it has run.
	if err == nil && !strings.Contains(out, "libc.so") {
		err = fmt.Errorf("no library is loaded, but it prints: %s", terminal.OneLine(out))
	}
	if err != nil {
		return fmt.Errorf("load %s in the image: %w", program, err)
	}
	return nil
}

// runAmong runs argv in a root directory of the files and returns all that it prints.
func runAmong(ctx context.Context, files []oci.File, argv, env []string, qemu string) (string, error) {
	root, remove, err := cache.Scratch("debimage-")
	if err != nil {
		return "", err
	}
	defer remove()
	if qemu != "" {
		files = append(slices.Clone(files), oci.File{Path: emulator, Mode: 0o555, From: qemu})
		argv = append([]string{emulator}, argv...)
	}
	for _, f := range files {
		if err := f.Place(ctx, root); err != nil {
			return "", fmt.Errorf("place /%s: %w", f.Path, err)
		}
	}
	out, err := runIn(ctx, root, argv, env)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, terminal.OneLine(out))
	}
	return out, err
}

// runIn runs argv with root as its root directory and returns all that it
// prints.
func runIn(ctx context.Context, root string, argv, env []string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"LC_ALL=C"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
