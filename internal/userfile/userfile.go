// Package userfile reads small files that a user or a pod has put on a node. What is
// there may be anything: a FIFO that nobody writes to, a link to a device that does
// something when it is opened, a file without end. Only regular files are opened, and
// only so much of them is read as was asked for. Those of the kernel's own file systems
// are refused, too: they call themselves regular, but some of them (/proc/kmsg, a
// trace_pipe) wait for ever, or lose what is read. Links are followed.
package userfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Max is more than any sensible file of settings has, in bytes.
const Max = 1 << 20

var (
	// ErrTooLarge says that a file has more bytes than were asked for.
	ErrTooLarge = errors.New("it is too large")
	// ErrNoFile says that what is there is no regular file.
	ErrNoFile = errors.New("it is not a regular file")
)

// kernels are the magic numbers of file systems whose files the kernel makes up as they
// are read; see statfs(2).
var kernels = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
	unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.BPF_FS_MAGIC,
	unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC, unix.SELINUX_MAGIC, unix.SMACK_MAGIC,
	unix.AAFS_MAGIC, unix.NSFS_MAGIC, unix.XENFS_SUPER_MAGIC, unix.USBDEVICE_SUPER_MAGIC,
	0x62656570, // configfs
	0x19800202, // mqueue
	0x65735543, // the control of FUSE
}

// Reason is an error without the path, for a message that has it already.
func Reason(err error) error {
	if detail, ok := errors.AsType[*fs.PathError](err); ok {
		return detail.Err
	}
	return err
}

// IsNull finds /dev/null, to which a user may link in place of a file, to have none.
func IsNull(info fs.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// Read returns the content of a file of at most limit bytes. The error is
// fs.ErrNotExist, ErrTooLarge or ErrNoFile where that is the reason.
func Read(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(text.Len()) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, limit)}
	}
	return text.Bytes(), nil
}

// ReadIfThere is Read, and returns nothing for a file that is not there. A link that
// leads nowhere is there: who made it wants what it leads to, which may be where this
// process cannot see it.
func ReadIfThere(path string, limit int64) ([]byte, error) {
	text, err := Read(path, limit)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	target, err := os.Readlink(path)
	if err != nil {
		return nil, nil
	}
	return nil, fmt.Errorf("%s is a link to %s, where nothing is to be seen from here: put the file itself in its place, or a link to one in the same directory", path, target)
}

// open opens a regular file, and nothing else. A descriptor with O_PATH opens nothing
// (open(2)): a device does not notice it, and what it stands for cannot be replaced
// before the file behind it is opened.
func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNoFile}
	}
	if err := refuseKernels(fd); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	file, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(file), path), nil
}

// refuseKernels returns an error for a file that only looks like a regular one.
func refuseKernels(fd int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return err
	}
	if slices.Contains(kernels, int64(st.Type)) {
		return fmt.Errorf("%w: it is the kernel's, as those in /proc and /sys", ErrNoFile)
	}
	return nil
}
