// Package erofs makes and lists EROFS images with the programs of erofs-utils.
// The format is https://docs.kernel.org/filesystems/erofs.html.
//
// It knows nothing about what the files are. It does not mount, so it needs
// neither root nor a kernel that knows EROFS.
package erofs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"kios/host/hosttool"
)

// defaultUUID is the file system's UUID when Options has none: a fixed one, so
// that the same tree gives the same image.
const defaultUUID = "6b696f73-0000-4000-8000-000000000001"

// Options decide how an image is made. The zero value is an uncompressed one.
type Options struct {
	Compression string // compressor and level as mkfs.erofs -z takes them, such as "lz4hc,12"
	Cluster     int    // most bytes of compressed data in one unit; 0 for one block
	UUID        string
	Tools       Tools
}

// Tools are the command lines that the programs of erofs-utils are called
// with. The zero value means those that are installed.
type Tools struct {
	Mkfs, Fsck, Dump []string
}

// Make writes an image of the directory src to out. Modes are taken from the
// tree; owners become root and times zero, so that the image depends on names,
// modes and contents only.
func Make(ctx context.Context, src, out string, o Options) error {
	if info, err := os.Stat(src); err != nil || !info.IsDir() {
		return fmt.Errorf("make EROFS image: %s is not a directory", src)
	}
	// mkfs.erofs overwrites a file in place; what reads the old one, such as a
	// running machine, must keep it.
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make EROFS image: %w", err)
	}
	if _, err := run(ctx, o.Tools.Mkfs, "mkfs.erofs", append(o.arguments(), out, src)...); err != nil {
		os.Remove(out)
		return fmt.Errorf("make EROFS image of %s: %w", src, err)
	}
	return os.Chmod(out, 0o644)
}

func (o Options) arguments() []string {
	uuid := o.UUID
	if uuid == "" {
		uuid = defaultUUID
	}
	// Blocks of 4096 bytes whatever this machine's page size is. -x-1 leaves
	// out extended attributes, which differ between build machines.
	args := []string{"--quiet", "-T0", "--all-root", "-x-1", "-U" + uuid}
	if o.Compression != "" {
		args = append(args, "-z"+o.Compression)
	}
	if o.Cluster != 0 {
		args = append(args, "-C"+strconv.Itoa(o.Cluster))
	}
	return args
}

// Entry is a file, directory or link of an image.
type Entry struct {
	Path   string // absolute
	Mode   fs.FileMode
	UID    int
	GID    int
	Size   int64
	OnDisk int64  // bytes in the image, compressed, without the inode
	Target string // of a symbolic link
}

// List extracts the image into the directory dir, which should be empty, and
// returns what is in it in the order of the paths. Modes and owners are read
// from the image: those below dir need not be the same if the caller is not
// root.
func List(ctx context.Context, image, dir string, tools Tools) ([]Entry, error) {
	if err := Extract(ctx, image, dir, tools); err != nil {
		return nil, err
	}
	var entries []Entry
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		e, err := stat(ctx, image, filepath.Join("/", rel), tools)
		if err == nil {
			err = e.complete(p, d)
		}
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list EROFS image %s: %w", image, err)
	}
	return entries, nil
}

// complete adds what dump.erofs does not show: the target of a link, and the
// bits for set-user-ID, set-group-ID and sticky, which extraction keeps.
func (e *Entry) complete(path string, d fs.DirEntry) error {
	if d.Type() == fs.ModeSymlink {
		target, err := os.Readlink(path)
		e.Target = target
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	e.Mode |= info.Mode() & (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	return nil
}

// Extract unpacks the image into the directory dir, as files of the caller.
// It fails if any file of the image cannot be decompressed.
func Extract(ctx context.Context, image, dir string, tools Tools) error {
	if _, err := os.Stat(image); err != nil {
		return fmt.Errorf("extract EROFS image: %w", err)
	}
	_, err := run(ctx, tools.Fsck, "fsck.erofs", "--extract="+dir, "--overwrite", "--no-preserve", image)
	full := hosttool.FullDisk(dir)
	if err == nil && full != nil {
		err = compare(ctx, image, dir, tools) // fsck.erofs may cut the file that it writes, and say nothing
	}
	if err != nil && full != nil {
		err = fmt.Errorf("%w: %w", full, err)
	}
	if err != nil {
		return fmt.Errorf("extract EROFS image %s: %w", image, err)
	}
	return nil
}

// compare returns an error if a file below dir has not the size that it has in the image.
func compare(ctx context.Context, image, dir string, tools Tools) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(p, filepath.Clean(dir))
		e, err := stat(ctx, image, path, tools)
		if err == nil && info.Size() != e.Size {
			err = fmt.Errorf("%s has %d of %d bytes", path, info.Size(), e.Size)
		}
		return err
	})
}

// stat asks dump.erofs for one inode.
func stat(ctx context.Context, image, path string, tools Tools) (Entry, error) {
	out, err := run(ctx, tools.Dump, "dump.erofs", "--path="+path, image)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", path, err)
	}
	e, err := parseStat(out)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: dump.erofs: %w", path, err)
	}
	e.Path = path
	return e, nil
}

var (
	sizeLine = regexp.MustCompile(`(?m)^Size: (\d+) +On-disk size: (\d+) +(\w+)`)
	modeLine = regexp.MustCompile(`(?m)^Uid: (\d+) +Gid: (\d+) +Access: ([0-7]+)/`)
)

// types are the names that dump.erofs has for file types.
var types = map[string]fs.FileMode{
	"regular":   0,
	"directory": fs.ModeDir,
	"symlink":   fs.ModeSymlink,
	"char":      fs.ModeDevice | fs.ModeCharDevice,
	"block":     fs.ModeDevice,
	"FIFO":      fs.ModeNamedPipe,
	"SOCK":      fs.ModeSocket,
}

// parseStat reads the lines
//
//	Size: 3110743  On-disk size: 1572864  regular file
//	Uid: 0   Gid: 0  Access: 0755/rwxr-xr-x
func parseStat(out string) (Entry, error) {
	size, mode := sizeLine.FindStringSubmatch(out), modeLine.FindStringSubmatch(out)
	if size == nil || mode == nil {
		return Entry{}, fmt.Errorf("unknown output %q", firstLine(out))
	}
	kind, ok := types[size[3]]
	if !ok {
		return Entry{}, fmt.Errorf("unknown file type %q", size[3])
	}
	var n [5]int64
	for i, text := range []string{size[1], size[2], mode[1], mode[2]} {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Entry{}, err
		}
		n[i] = v
	}
	bits, err := strconv.ParseUint(mode[3], 8, 32)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Mode: kind | fs.FileMode(bits).Perm(), Size: n[0], OnDisk: n[1], UID: int(n[2]), GID: int(n[3])}, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// run calls a program of erofs-utils by its name, or by the command line that
// takes its place.
func run(ctx context.Context, command []string, name string, args ...string) (string, error) {
	if len(command) == 0 {
		command = []string{name}
	}
	out, err := hosttool.Run(ctx, command[0], append(command[1:len(command):len(command)], args...)...)
	if e, ok := errors.AsType[*hosttool.Error](err); ok {
		e.Stderr = cause(e.Stderr)
	}
	return out, err
}

// cause picks the first error of erofs-utils' log: the others follow from it.
func cause(log string) string {
	for line := range strings.Lines(log) {
		if text, ok := strings.CutPrefix(line, "<E> "); ok {
			return text
		}
	}
	return log
}
