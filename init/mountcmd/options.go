package mountcmd

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// option is a word that may follow -o, and its effect on the flags of mount(2).
type option struct {
	name        string
	set, clear  uintptr
	propagation uintptr // made with a call of its own, after the mount
	ignored     bool    // for fstab or for the tool, not for the kernel
}

// options are those of mount(8)'s "filesystem-independent mount options".
var options = []option{
	{name: "rbind", set: unix.MS_BIND | unix.MS_REC},
	{name: "bind", set: unix.MS_BIND},
	{name: "move", set: unix.MS_MOVE},
	{name: "remount", set: unix.MS_REMOUNT},
	{name: "ro", set: unix.MS_RDONLY},
	{name: "rw", clear: unix.MS_RDONLY},
	{name: "nosuid", set: unix.MS_NOSUID},
	{name: "suid", clear: unix.MS_NOSUID},
	{name: "nodev", set: unix.MS_NODEV},
	{name: "dev", clear: unix.MS_NODEV},
	{name: "noexec", set: unix.MS_NOEXEC},
	{name: "exec", clear: unix.MS_NOEXEC},
	{name: "sync", set: unix.MS_SYNCHRONOUS},
	{name: "async", clear: unix.MS_SYNCHRONOUS},
	{name: "dirsync", set: unix.MS_DIRSYNC},
	{name: "noatime", set: unix.MS_NOATIME},
	{name: "atime", clear: unix.MS_NOATIME},
	{name: "nodiratime", set: unix.MS_NODIRATIME},
	{name: "diratime", clear: unix.MS_NODIRATIME},
	{name: "relatime", set: unix.MS_RELATIME},
	{name: "norelatime", clear: unix.MS_RELATIME},
	{name: "strictatime", set: unix.MS_STRICTATIME},
	{name: "nostrictatime", clear: unix.MS_STRICTATIME},
	{name: "lazytime", set: unix.MS_LAZYTIME},
	{name: "nolazytime", clear: unix.MS_LAZYTIME},
	{name: "silent", set: unix.MS_SILENT},
	{name: "loud", clear: unix.MS_SILENT},
	{name: "mand", set: unix.MS_MANDLOCK},
	{name: "nomand", clear: unix.MS_MANDLOCK},

	{name: "shared", propagation: unix.MS_SHARED},
	{name: "slave", propagation: unix.MS_SLAVE},
	{name: "private", propagation: unix.MS_PRIVATE},
	{name: "unbindable", propagation: unix.MS_UNBINDABLE},
	{name: "rshared", propagation: unix.MS_SHARED | unix.MS_REC},
	{name: "rslave", propagation: unix.MS_SLAVE | unix.MS_REC},
	{name: "rprivate", propagation: unix.MS_PRIVATE | unix.MS_REC},
	{name: "runbindable", propagation: unix.MS_UNBINDABLE | unix.MS_REC},

	{name: "defaults", ignored: true},
	{name: "auto", ignored: true},
	{name: "noauto", ignored: true},
	{name: "nofail", ignored: true},
	{name: "_netdev", ignored: true},
	{name: "user", ignored: true},
	{name: "nouser", ignored: true},
	{name: "users", ignored: true},
	{name: "group", ignored: true},
	{name: "owner", ignored: true},
}

// mountOptions are a parsed -o.
type mountOptions struct {
	flags       uintptr
	propagation []uintptr // in order, each a call of mount(2)
	data        string    // for the file system
	cleared     uintptr   // flags that options have cleared (rw, exec, ...)
}

// parseOptions reads the words after -o, with commas between. Unknown words are for
// the file system. A value in double quotes may contain commas.
func parseOptions(words string) (mountOptions, error) {
	var o mountOptions
	var data []string
	for _, word := range splitOptions(words) {
		known, err := o.apply(word)
		if err != nil {
			return mountOptions{}, err
		}
		if !known {
			data = append(data, word)
		}
	}
	o.data = strings.Join(data, ",")
	return o, nil
}

func splitOptions(words string) []string {
	quoted := false
	return strings.FieldsFunc(words, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

func (o *mountOptions) apply(word string) (known bool, err error) {
	if word == "loop" || strings.HasPrefix(word, "loop=") {
		return true, fmt.Errorf("option loop is not supported: attach the file to a loop device and mount that")
	}
	if strings.HasPrefix(word, "x-") || strings.HasPrefix(word, "X-") || strings.HasPrefix(word, "comment=") {
		return true, nil
	}
	for _, opt := range options {
		if opt.name == word {
			o.add(opt)
			return true, nil
		}
	}
	return false, nil
}

func (o *mountOptions) add(opt option) {
	if opt.propagation != 0 {
		o.propagation = append(o.propagation, opt.propagation)
	}
	o.flags = o.flags&^opt.clear | opt.set
	o.cleared = o.cleared&^opt.set | opt.clear
}
