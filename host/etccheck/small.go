package etccheck

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/host/cache"
	"kios/internal/daemonenv"
	"kios/internal/etclayout"
	"kios/internal/hostpath"
	"kios/internal/identity"
	"kios/internal/kubeletargs"
	"kios/internal/sysctl"
	"kios/internal/userfile"
)

// small are the files that PID 1 itself reads, as patterns. It is asked about each with
// its own code, in internal/.
var small = slices.Concat([]string{"hostname", "machine-id", "kios/exec-paths", daemonenv.File}, kubeletargs.UserFiles)

// saysOfSmall returns what PID 1 will say about the files that it reads, and about what is
// in the place of the OS's own.
func (n *Node) saysOfSmall(etc string, m Machine) ([]string, error) {
	etc, err := filepath.Abs(etc)
	if err != nil {
		return nil, err
	}
	view, remove, err := cache.Scratch("etc-")
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := show(etc, view); err != nil {
		return nil, err
	}
	misfits, err := n.misfits(etc)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, m := range misfits {
		lines = append(lines, m.Kept("/etc", filepath.Base(m.Name)+etclayout.Aside))
		os.RemoveAll(filepath.Join(view, m.Name)) // nobody reads it
	}
	errs := slices.Concat(checkIdentity(view), checkExecPaths(view), checkSysctls(view, m), checkEnvironment(view))
	for _, err := range errs {
		lines = append(lines, strings.Split(err.Error(), "\n")...)
	}
	_, warnings := kubeletargs.Files{Root: "/", Etc: view}.Args()
	for _, w := range warnings {
		lines = append(lines, strings.Split(w, "\n")...)
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, view+"/", "/etc/")
	}
	return lines, nil
}

// show links the small files of etc in view, past links of the user: one that leads to
// /etc would lead to that of this machine.
func show(etc, view string) error {
	patterns := append(slices.Clone(small), "sysctl.d")
	if info, err := os.Stat(filepath.Join(etc, "sysctl.d")); err == nil && info.IsDir() {
		patterns[len(patterns)-1] = "sysctl.d/*.conf"
	}
	for _, pattern := range patterns {
		found, _ := filepath.Glob(filepath.Join(etc, pattern)) // the patterns are good
		for _, path := range found {
			file, ok := follow(etc, path)
			name, err := filepath.Rel(etc, path)
			if err != nil || !ok {
				continue
			}
			at := filepath.Join(view, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.Symlink(file, at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow returns what is at the end of a path of etc, as on the node. What is outside is
// not known here, but for /dev/null.
func follow(etc, path string) (end string, known bool) {
	for range 40 { // as many as the kernel follows
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return path, err == nil
		}
		target, err := os.Readlink(path)
		switch rest, inEtc := strings.CutPrefix(target, "/etc/"); {
		case err != nil:
			return "", false
		case target == os.DevNull:
			return target, true
		case inEtc:
			path = filepath.Join(etc, rest)
		case filepath.IsAbs(target):
			return "", false
		default:
			path = filepath.Join(filepath.Dir(path), target)
		}
		if rel, err := filepath.Rel(etc, path); err != nil || !filepath.IsLocal(rel) {
			return "", false
		}
	}
	return "", false
}

// misfits are what PID 1 will put aside. Where a link leads, apart from those that hide the
// system pods, only the node knows.
func (n *Node) misfits(etc string) ([]etclayout.Misfit, error) {
	needs, err := etclayout.Needs(filepath.Join(n.dir, "etc"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(etclayout.Misfits(etc, needs), func(m etclayout.Misfit) bool {
		info, err := os.Lstat(filepath.Join(etc, m.Name))
		return err != nil || info.Mode()&fs.ModeSymlink != 0 && !m.HidesPods()
	}), nil
}

// checkIdentity returns what is wrong with the files that name the node.
func checkIdentity(etc string) (errs []error) {
	for _, f := range []struct {
		name  string
		parse func(string) (string, error)
	}{{"hostname", identity.ParseHostname}, {"machine-id", identity.ParseMachineID}} {
		file := filepath.Join(etc, f.name)
		text, err := userfile.ReadIfThere(file, userfile.Max)
		if err == nil {
			_, err = f.parse(string(text))
		}
		if err != nil && !errors.Is(err, identity.ErrEmpty) {
			errs = append(errs, identity.NotUsed(file, err))
		}
	}
	return errs
}

func checkExecPaths(etc string) (errs []error) {
	file := filepath.Join(etc, "kios/exec-paths")
	text, err := userfile.ReadIfThere(file, userfile.Max)
	if err != nil {
		return []error{hostpath.NotUsed(err)}
	}
	paths, err := hostpath.ParseExecPaths(string(text))
	if err != nil {
		errs = append(errs, err)
	}
	for _, path := range paths {
		if err := hostpath.CheckExecPath(path); err != nil {
			errs = append(errs, hostpath.CannotRun(path, err))
		}
	}
	return errs
}

func checkEnvironment(etc string) []error {
	if _, err := daemonenv.Read(filepath.Join(etc, daemonenv.File), ""); err != nil {
		return []error{err}
	}
	return nil
}

func checkSysctls(etc string, m Machine) []error {
	lines, errs := sysctl.Read(filepath.Join(etc, "sysctl.d"))
	return append(errs, sysctl.Refused(lines, sysctl.NewRules(uint64(m.Memory)))...)
}
