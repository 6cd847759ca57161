package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kios/init/mount"
	"kios/internal/hostpath"
	"kios/internal/userfile"

	"golang.org/x/sys/unix"
)

// Host paths are where pods write to the node. The read-only root has links where
// charts want directories (/opt is var/opt, see internal/hostpath), and /var is
// on the data partition if there is one. So nothing that a pod writes to a host path
// is lost while there is a disk for it.

// varDirs are the directories of /var that exist on every node, beside those that the
// links of the root lead to: mount points, and what programs expect.
var varDirs = []struct {
	name string
	mode fs.FileMode
}{
	{"cache", 0o755},
	{"exec", 0o755}, // programsDir
	{"lib", 0o755},
	{"log", 0o755},
	{"meta", 0o700},
	{"tmp", 0o777 | fs.ModeSticky},
}

// makeVar makes what is missing below dir, which is /var.
func makeVar(dir string) error {
	var errs []error
	for _, d := range varDirs {
		errs = append(errs, makeVarDir(filepath.Join(dir, d.name), d.mode))
	}
	for _, l := range hostpath.Links {
		errs = append(errs, makeVarDir(filepath.Join(dir, l.Dir), l.Mode))
	}
	return errors.Join(append(errs, linkRun(filepath.Join(dir, "run")))...)
}

// makeVarDir leaves the mode of a directory that exists to those who changed it.
func makeVarDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode.Perm())
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode) // Mkdir applies the umask and drops the sticky bit
}

// linkRun makes /var/run a link to /run: both names are in use for one place. A
// directory there hides sockets from those who use the other name.
func linkRun(path string) error {
	const target = "../run"
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is to be a link to /run: %w: move away what is in it", path, err)
	}
	return os.Symlink(target, path)
}

// openHostPaths makes the places where pods write complete. /var may be another one
// than that of the step tmpfs.
func (n *Node) openHostPaths() error {
	return errors.Join(
		makeVar("/var"),
		// Charts that show a container the devices' names want this directory, and
		// there is no udev that makes it.
		os.MkdirAll("/run/udev", 0o755),
		mountPrograms("/"),
		n.allowExec(),
	)
}

// programsDir is where the programs of others are kept: on the data partition if
// there is one, so that a configuration in /etc finds the programs that it names after
// the next boot, too.
const programsDir = "/var/exec"

// programs are the only places outside of /bin and of containers from which the node
// runs programs, beside podsDir and what the user has named in execPaths. Each is a
// directory of programsDir, shown without noexec where others look for it.
var programs = []struct {
	name, target string
	dirs         []string // in it
	why          string
}{
	{"cni", "/opt/cni/bin", nil,
		"CNI plugins, put there by the network's pod and run by containerd"},
	{"kubelet-plugins", "/usr/libexec/kubernetes/kubelet-plugins", []string{"credential-provider/exec", "volume/exec"},
		"credential providers and flexvolume drivers, put there by pods and run by the kubelet"},
	{"kios", "/opt/kios/bin", nil,
		"shims and hooks of other runtimes, put there by pods and run by containerd"},
}

func mountPrograms(root string) error {
	var errs []error
	for _, p := range programs {
		from := filepath.Join(root, programsDir, p.name)
		err := os.MkdirAll(from, 0o755)
		for _, dir := range p.dirs {
			err = errors.Join(err, os.MkdirAll(filepath.Join(from, dir), 0o755))
		}
		if err == nil {
			err = mount.Row{Source: from, Target: filepath.Join(root, p.target), Flags: mount.NoSuid | mount.NoDev}.Mount()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// allowExec takes noexec away from the directories that the user has named, for
// storage and runtimes that keep programs in host paths. A mistake in one costs only
// that one.
func (n *Node) allowExec() error {
	paths, err := readExecPaths(hostpath.ExecPaths)
	for _, path := range paths {
		if err := allowExecIn(path, "/var"); err != nil {
			n.Log.Error("%v", hostpath.CannotRun(path, err))
		}
	}
	return err
}

func readExecPaths(file string) ([]string, error) {
	text, err := userfile.ReadIfThere(file, userfile.Max)
	if err != nil {
		return nil, hostpath.NotUsed(err)
	}
	return hostpath.ParseExecPaths(string(text))
}

// allowExecIn makes the directory, if it is missing, and mounts it on itself without
// noexec. It must be below dir, which is /var, by way of the root's links or not.
func allowExecIn(path, dir string) error {
	real, err := resolve(path)
	if err != nil {
		return err
	}
	if err := hostpath.MayHold(real, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(real, 0o755); err != nil {
		return err
	}
	// With what is mounted below it: a plain bind mount would hide that.
	if err := unix.Mount(real, real, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", real, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// resolve follows the symbolic links in a path of which the last parts may not exist.
func resolve(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", hostpath.ErrRelative
	}
	path = filepath.Clean(path)
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return real, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a link that leads to nothing", path)
	}
	parent, err := resolve(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// borrowVar shows what pods have in host paths on a partition to which nothing can be
// added, so that none takes an empty directory for its data. /var itself is in memory
// then.
func (n *Node) borrowVar() {
	const from = dataDir + "/data/var"
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Log.Error("what pods have in host paths is out of reach: %v", err)
	}
	for _, e := range entries {
		if !e.IsDir() || slices.Contains(notBorrowed, e.Name()) {
			continue
		}
		if err := n.borrowFrom(from, e.Name()); err != nil {
			n.Log.Error("/var/%s is kept in memory: %v", e.Name(), err)
		}
	}
}

// notBorrowed are the directories of /var that places has mounted, or whose files are
// not missed.
var notBorrowed = []string{"cache", "lib", "log", "lost+found", "meta", "run", "tmp"}

func (n *Node) borrowFrom(dir, name string) error {
	source, target := filepath.Join(dir, name), filepath.Join("/var", name)
	if target == programsDir { // pods that bring programs write them again
		return overlay(target, []string{source}, "/var/.exec.upper", "/var/.exec.work")
	}
	return mount.Row{Source: source, Target: target, Flags: n.work.data.flags(mount.Strict)}.Mount()
}
