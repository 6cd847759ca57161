// Package mount mounts tables whose rows say why each mount is there, and reads
// /proc/self/mountinfo. The commands mount and umount are in package mountcmd.
//
// It follows mount(2) and proc(5).
package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The flags that most rows have.
const (
	Strict = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	NoExec = unix.MS_NOEXEC
	NoSuid = unix.MS_NOSUID
	NoDev  = unix.MS_NODEV
	RdOnly = unix.MS_RDONLY
	Bind   = unix.MS_BIND

	// PerMount are the flags that belong to a mount and not to its file system. A
	// bind mount can have others than its source.
	PerMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
)

// Row is one mount of a table.
type Row struct {
	Target string
	Type   string // "" for a bind mount
	Source string // for a pseudo file system its name in /proc/mounts
	Flags  uintptr
	// Data are the file system's own options. When the kernel refuses them
	// the next ones are tried.
	Data []string
	// Mode is that of the target directory if it has to be made.
	Mode fs.FileMode
	// Optional rows are left out when the kernel lacks the file system.
	Optional bool
	// Why says who needs it.
	Why string
}

// String returns the row as mount(8) would be called for it.
func (r Row) String() string {
	opts := strings.Join(append(flagNames(r.Flags), r.firstData()...), ",")
	if r.Type == "" {
		return fmt.Sprintf("mount -o %s %s %s", opts, r.Source, r.Target)
	}
	return fmt.Sprintf("mount -t %s -o %s %s %s", r.Type, opts, r.Source, r.Target)
}

func (r Row) firstData() []string {
	if len(r.Data) == 0 || r.Data[0] == "" {
		return nil
	}
	return r.Data[:1]
}

// Mount makes the target directory, if it is missing, and mounts the row. It does
// nothing for an optional row whose file system the kernel lacks.
func (r Row) Mount() error {
	if err := r.makeTarget(); err != nil {
		return r.unlessOptional(err)
	}
	if r.Type == "" {
		return r.bind()
	}
	data := r.Data
	if len(data) == 0 {
		data = []string{""}
	}
	var err error
	for _, d := range data {
		err = unix.Mount(r.Source, r.Target, r.Type, r.Flags, d)
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return r.unlessOptional(fmt.Errorf("mount %s on %s: %w", r.Type, r.Target, err))
	}
	return nil
}

// makeTarget leaves an existing target alone, be it a directory or a file.
func (r Row) makeTarget() error {
	if _, err := os.Stat(r.Target); err == nil {
		return nil
	}
	mode := r.Mode
	if mode == 0 {
		mode = 0o755
	}
	return os.MkdirAll(r.Target, mode)
}

// unlessOptional drops the errors of a kernel that lacks a file system or the
// directory it is mounted on.
func (r Row) unlessOptional(err error) error {
	missing := errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	if r.Optional && missing {
		return nil
	}
	return err
}

// bind takes two calls: a bind mount has the flags of its source at first.
func (r Row) bind() error {
	if err := unix.Mount(r.Source, r.Target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", r.Source, r.Target, err)
	}
	if err := unix.Mount("", r.Target, "", unix.MS_REMOUNT|unix.MS_BIND|r.Flags&PerMount, ""); err != nil {
		return fmt.Errorf("set the flags of %s: %w", r.Target, err)
	}
	return nil
}

// Share makes all mounts below path pass on what is mounted in them, as the
// kubelet's Bidirectional mount propagation needs it.
func Share(path string) error {
	if err := unix.Mount("", path, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make %s shared: %w", path, err)
	}
	return nil
}

// flagNames returns the names that mount(8) has for the flags of rows.
func flagNames(flags uintptr) []string {
	var names []string
	for _, f := range []struct {
		flag uintptr
		name string
	}{{Bind, "bind"}, {RdOnly, "ro"}, {NoSuid, "nosuid"}, {NoDev, "nodev"}, {NoExec, "noexec"}} {
		if flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}
