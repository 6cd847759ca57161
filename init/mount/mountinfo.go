package mount

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Info is a line of /proc/self/mountinfo.
type Info struct {
	ID      uint64 // see statx(2), STATX_MNT_ID
	Device  string // MAJOR:MINOR
	Root    string // of the mount within its file system
	Target  string
	Options string // of the mount: rw,nosuid,...
	Type    string
	Source  string
	Super   string // options of the file system
}

// List returns the mounts of this process in the order in which the kernel
// lists them: what lies on top comes after what lies below.
func List() ([]Info, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseInfo(f)
}

// ParseInfo reads mountinfo as proc(5) describes it.
func ParseInfo(r io.Reader) ([]Info, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	var infos []Info
	for line := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n") {
		info, err := parseLine(line)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// parseLine reads "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root
// rw". The number of fields before the dash varies. The kernel escapes blanks, tabs and
// line ends only, so no other white space (as in a mount point's name) ends a field.
func parseLine(line string) (Info, error) {
	before, after, found := strings.Cut(line, " - ")
	first, last := strings.Split(before, " "), strings.Split(after, " ")
	if !found || len(first) < 6 || len(last) < 3 {
		return Info{}, fmt.Errorf("read mountinfo: %q is not a line of it", line)
	}
	id, err := strconv.ParseUint(first[0], 10, 64)
	if err != nil {
		return Info{}, fmt.Errorf("read mountinfo: the ID of a mount: %w", err)
	}
	return Info{
		ID:      id,
		Device:  first[2],
		Root:    unescape(first[3]),
		Target:  unescape(first[4]),
		Options: first[5],
		Type:    last[0],
		Source:  unescape(last[1]),
		Super:   last[2],
	}, nil
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Find returns the topmost mount on target.
func Find(infos []Info, target string) (Info, bool) {
	for i := len(infos) - 1; i >= 0; i-- {
		if infos[i].Target == target {
			return infos[i], true
		}
	}
	return Info{}, false
}

// Below returns the mounts on and below target, the one to unmount first
// first.
func Below(infos []Info, target string) []Info {
	var below []Info
	for _, m := range slices.Backward(infos) {
		if m.Target == target || target == "/" || strings.HasPrefix(m.Target, target+"/") {
			below = append(below, m)
		}
	}
	return below
}
