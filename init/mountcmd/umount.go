package mountcmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// Umount is umount(8). It takes the arguments without the program's name and returns
// the exit code. On a path that is no mount point it says "not mounted", which the
// kubelet looks for.
func Umount(args []string, stdout, stderr io.Writer) int {
	req, err := parseUnmountArgs(args)
	if err != nil {
		fmt.Fprintf(stderr, "umount: %v\nusage: umount [-f] [-l] [-R] TARGET...\n", err)
		return exitUsage
	}
	if req.version {
		fmt.Fprintln(stdout, "umount "+version)
		return 0
	}
	code := 0
	for _, path := range req.paths {
		if err := req.unmount(path); err != nil {
			if !req.quiet {
				fmt.Fprintf(stderr, "umount: %s: %v.\n", path, err)
			}
			code = exitFail
		}
	}
	return code
}

type unmountRequest struct {
	flags     int
	recursive bool
	quiet     bool
	version   bool
	paths     []string
}

func parseUnmountArgs(args []string) (*unmountRequest, error) {
	req := &unmountRequest{}
	for i, arg := range args {
		if arg == "--" {
			req.paths = append(req.paths, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") {
			req.paths = append(req.paths, arg)
			continue
		}
		if err := req.flag(arg); err != nil {
			return nil, err
		}
	}
	if len(req.paths) == 0 && !req.version {
		return nil, errors.New("no target given")
	}
	return req, nil
}

// flag takes one flag; short ones may be joined (-lf).
func (r *unmountRequest) flag(arg string) error {
	if len(arg) > 2 && arg[1] != '-' {
		for _, letter := range arg[1:] {
			if err := r.flag("-" + string(letter)); err != nil {
				return err
			}
		}
		return nil
	}
	switch arg {
	case "-f", "--force":
		r.flags |= unix.MNT_FORCE
	case "-l", "--lazy":
		r.flags |= unix.MNT_DETACH
	case "-R", "--recursive":
		r.recursive = true
	case "-q", "--quiet":
		r.quiet = true
	case "-V", "--version":
		r.version = true
	case "-n", "--no-mtab", "-c", "--no-canonicalize", "-i", "--internal-only", "-v", "--verbose", "-d", "--detach-loop":
	default:
		return fmt.Errorf("unknown flag %s", arg)
	}
	return nil
}

func (r *unmountRequest) unmount(path string) error {
	if !r.recursive {
		return unmountOne(path, r.flags)
	}
	infos, err := mount.List()
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return unmountError(err)
	}
	below := mount.Below(infos, target)
	if len(below) == 0 {
		return errNotMounted
	}
	for _, m := range below {
		if err := unmountOne(m.Target, r.flags); err != nil {
			return err
		}
	}
	return nil
}

var errNotMounted = errors.New("not mounted")

// unmountOne unmounts a target, or the target of a device.
func unmountOne(path string, flags int) error {
	err := unix.Unmount(path, flags)
	if !errors.Is(err, unix.EINVAL) {
		return unmountError(err)
	}
	infos, listErr := mount.List()
	if listErr != nil {
		return listErr
	}
	for _, m := range slices.Backward(infos) {
		if m.Source == path && strings.HasPrefix(path, "/dev/") {
			return unmountError(unix.Unmount(m.Target, flags))
		}
	}
	return errNotMounted
}

// unmountError returns errors with the texts of umount(8), which callers look for.
func unmountError(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return errNotMounted
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no mount point specified")
	case errors.Is(err, unix.EBUSY):
		return errors.New("target is busy")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("must be superuser to unmount")
	}
	return err
}
