// Package mountcmd is the commands mount and umount as the kubelet, CSI drivers and
// CNI plugins call them.
//
// It follows the parts of mount(8) and umount(8) of util-linux that make sense
// without an fstab, and of mount.nfs(8). It leaves out other helpers (mount.cifs and the
// like), loop devices and labels.
package mountcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// version is the answer to --version. It has no number, because some callers look for
// that of util-linux.
const version = "from kiOS (mount(8) without fstab, loop devices and helpers but that of NFS)"

// The exit codes of mount(8).
const (
	exitUsage = 1
	exitFail  = 32
)

// request is a parsed command line of mount.
type request struct {
	fstype  string
	options []string
	paths   []string
	verbose bool
	version bool
}

// Mount is mount(8). It takes the arguments without the program's name and returns
// the exit code.
func Mount(args []string, stdout, stderr io.Writer) int {
	req, err := parseMountArgs(args)
	if err != nil {
		fmt.Fprintf(stderr, "mount: %v\nusage: mount [-t TYPE] [-o OPTION,...] [SOURCE] TARGET\n", err)
		return exitUsage
	}
	if req.version {
		fmt.Fprintln(stdout, "mount "+version)
		return 0
	}
	if err := req.run(stdout); err != nil {
		fmt.Fprintf(stderr, "mount: %v.\n", err)
		return exitFail
	}
	return 0
}

func (r *request) run(stdout io.Writer) error {
	if len(r.paths) == 0 {
		return printMounts(stdout, r.fstype)
	}
	opts, err := parseOptions(strings.Join(r.options, ","))
	if err != nil {
		return err
	}
	source, target := r.paths[0], r.paths[len(r.paths)-1]
	if len(r.paths) == 1 {
		source = ""
	}
	if err := do(source, target, r.fstype, opts); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if r.verbose {
		fmt.Fprintf(stdout, "mount: %s mounted on %s.\n", source, target)
	}
	return nil
}

// parseMountArgs reads options anywhere on the line, as getopt does.
func parseMountArgs(args []string) (*request, error) {
	req := &request{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			req.paths = append(req.paths, args...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			req.paths = append(req.paths, arg)
			continue
		}
		rest, err := req.flag(arg, args)
		if err != nil {
			return nil, err
		}
		args = rest
	}
	if len(req.paths) > 2 {
		return nil, fmt.Errorf("more than a source and a target: %s", strings.Join(req.paths, " "))
	}
	return req, nil
}

// words are the flags that have the effect of a word after -o.
var words = map[string]string{
	"-r": "ro", "--read-only": "ro", "-w": "rw", "--rw": "rw", "--read-write": "rw",
	"-B": "bind", "--bind": "bind", "-R": "rbind", "--rbind": "rbind", "-M": "move", "--move": "move",
	"--make-shared": "shared", "--make-slave": "slave", "--make-private": "private", "--make-unbindable": "unbindable",
	"--make-rshared": "rshared", "--make-rslave": "rslave", "--make-rprivate": "rprivate", "--make-runbindable": "runbindable",
}

// flag takes one flag, with its value from args if it has one, and returns
// the args that are left.
func (r *request) flag(arg string, args []string) ([]string, error) {
	name, value, hasValue := splitFlag(arg)
	switch name {
	case "-t", "--types", "-o", "--options", "--source", "--target":
		if !hasValue {
			if len(args) == 0 {
				return nil, fmt.Errorf("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		r.set(name, value)
		return args, nil
	case "-v", "--verbose":
		r.verbose = true
		return args, nil
	case "-V", "--version":
		r.version = true
		return args, nil
	case "-n", "--no-mtab", "-c", "--no-canonicalize", "-i", "--internal-only", "-s":
		return args, nil
	}
	if word, ok := words[name]; ok {
		r.options = append(r.options, word)
		return args, nil
	}
	return nil, fmt.Errorf("unknown flag %s", arg)
}

func (r *request) set(name, value string) {
	switch name {
	case "-t", "--types":
		r.fstype = value
	case "-o", "--options":
		r.options = append(r.options, value)
	case "--source":
		r.paths = append([]string{value}, r.paths...)
	case "--target":
		r.paths = append(r.paths, value)
	}
}

// splitFlag separates "--types=ext4" and "-text4" into flag and value.
func splitFlag(arg string) (name, value string, hasValue bool) {
	if strings.HasPrefix(arg, "--") {
		return strings.Cut(arg, "=")
	}
	if len(arg) > 2 && (arg[1] == 't' || arg[1] == 'o') {
		return arg[:2], arg[2:], true
	}
	return arg, "", false
}

// do makes the calls of mount(2) for a request.
func do(source, target, fstype string, o mountOptions) error {
	if o.flags&(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_MOVE) == 0 && source == "" && len(o.propagation) == 0 {
		return errors.New("no source given, and there is no fstab to find it in")
	}
	if err := attach(source, target, fstype, o); err != nil {
		return err
	}
	for _, p := range o.propagation {
		if err := unix.Mount("", target, "", p, ""); err != nil {
			return fmt.Errorf("change the propagation: %w", err)
		}
	}
	return nil
}

func attach(source, target, fstype string, o mountOptions) error {
	switch {
	case o.flags&unix.MS_REMOUNT != 0:
		return remount(target, o)
	case o.flags&unix.MS_BIND != 0:
		return bindWithFlags(source, target, o)
	case o.flags&unix.MS_MOVE != 0:
		return unix.Mount(source, target, "", unix.MS_MOVE, "")
	case source == "":
		return nil // only the propagation changes
	case fstype == "" || fstype == "auto":
		return tryTypes(source, target, o)
	case fstype == "nfs", fstype == "nfs4":
		return mountNFS(source, target, o)
	}
	return explain(unix.Mount(source, target, fstype, o.flags, o.data), source, fstype)
}

// bindWithFlags binds, and then sets flags if any are given: the kernel
// ignores them in the call that binds.
func bindWithFlags(source, target string, o mountOptions) error {
	if source == "" {
		source = target
	}
	if err := unix.Mount(source, target, "", o.flags&(unix.MS_BIND|unix.MS_REC), ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	if o.flags&mount.PerMount == 0 {
		return nil
	}
	return remount(target, o)
}

// remount changes flags. nosuid, nodev and noexec stay set unless an option clears
// them: a read-only bind mount of the kubelet must keep what its source was mounted
// with.
func remount(target string, o mountOptions) error {
	infos, err := mount.List()
	if err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(target)
	if err != nil {
		return err
	}
	now, found := mount.Find(infos, path)
	if !found {
		return errors.New("mount point not mounted or bad option")
	}
	flags := o.flags&^unix.MS_REC | unix.MS_REMOUNT | strictFlags(now.Options)&^o.cleared
	return unix.Mount("", target, "", flags, o.data)
}

// strictFlags returns those of nosuid, nodev and noexec that options hold.
func strictFlags(options string) uintptr {
	var flags uintptr
	for word := range strings.SplitSeq(options, ",") {
		switch word {
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		}
	}
	return flags
}

// tryTypes mounts a device without a given file system. It tries each that the kernel
// has for devices.
func tryTypes(source, target string, o mountOptions) error {
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(line, "nodev") || name == "" {
			continue
		}
		err := unix.Mount(source, target, name, o.flags|unix.MS_SILENT, o.data)
		if err == nil || !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return fmt.Errorf("%s holds no file system that this kernel knows, or a broken one", source)
}

// explain adds to the errors of mount(2) what they usually mean.
func explain(err error, source, fstype string) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("unknown filesystem type '%[1]s': the kernel has none of that name, and the node has no mount.%[1]s: use a CSI driver, which brings its own", fstype)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("wrong fs type, bad option or bad superblock on %s: %w", source, err)
	case errors.Is(err, unix.EUCLEAN):
		return fmt.Errorf("the file system on %s is damaged: %w", source, err)
	}
	return err
}

func printMounts(w io.Writer, fstype string) error {
	infos, err := mount.List()
	if err != nil {
		return err
	}
	for _, m := range infos {
		if fstype == "" || fstype == m.Type {
			fmt.Fprintf(w, "%s on %s type %s (%s)\n", m.Source, m.Target, m.Type, m.Options)
		}
	}
	return nil
}
