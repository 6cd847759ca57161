// Package hostfile is the list of files that a part of user data asks for: how many they may
// be, and where. A node is configured below /etc; what else user data write, for other
// systems, has nobody to read it here.
package hostfile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

const (
	maxFiles = 1024
	maxBytes = 16 << 20
	maxPath  = 1024
)

// trees are the directories of /etc in which files may be written.
var trees = []string{
	"kubernetes", "kios", // the node's own
	"containerd", "cni", "sysctl.d", "apparmor.d", "seccomp",
	"ssl", // certificates of certification authorities
	"eks", // drop-ins for a NodeConfig, which package userdata reads
}

// files are the files of /etc itself that may be written.
var files = []string{"hostname", "hosts", "resolv.conf", "localtime", "timezone", "machine-id"}

// taken are the directories of /run that belong to the node's programs: their sockets, and
// what PID 1 and the system pods tell each other.
var taken = []string{"kios", "containerd", "runc", "dbus", "systemd", "udev", "netns", "flannel", "lock", "credentials", "user"}

// Allowed returns why a file may not be written at name, or nil.
func Allowed(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || parts[0] != "" || len(name) > maxPath || name != path.Clean(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("it is not the path of a file, from / on, without .. in it")
	}
	parts = parts[1:]
	deep := len(parts) > 2
	switch {
	case parts[0] == "etc" && deep && slices.Contains(trees, parts[1]),
		parts[0] == "etc" && !deep && slices.Contains(files, parts[1]),
		parts[0] == "run" && deep && !slices.Contains(taken, parts[1]):
		return nil
	case parts[0] == "run":
		return errors.New("in /run, files may only be in directories that are not the node's own")
	}
	for _, e := range elsewhere {
		if strings.HasPrefix(name, e.prefix) {
			return fmt.Errorf("nothing on a node reads it: write %s", e.file)
		}
	}
	return errors.New("nothing on a node reads it: files may be in /etc/kubernetes, /etc/kios, /etc/containerd and others that docs/cloud/user-data.md lists")
}

// elsewhere are files of other systems, for each of which a node has one of its own. A longer
// prefix comes before a shorter one.
var elsewhere = []struct{ prefix, file string }{
	{"/etc/default/kubelet", flags}, {"/etc/sysconfig/kubelet", flags}, {"/etc/systemd/system/kubelet.service.d/", flags},
	{"/etc/systemd/system/containerd.service.d/", environment}, {"/etc/systemd/system.conf.d/", environment}, {"/etc/environment", environment}, {"/etc/profile.d/", environment},
	{"/var/lib/kubelet/config.yaml", "a KubeletConfiguration in /etc/kubernetes/config.d"},
	{"/etc/modules", "/etc/kios/modules.yaml"}, {"/etc/modprobe.d/", "/etc/kios/modules.yaml"},
	{"/etc/sysctl.conf", "a file in /etc/sysctl.d"}, {"/usr/lib/sysctl.d/", "a file in /etc/sysctl.d"},
	{"/usr/local/share/ca-certificates/", authorities}, {"/etc/pki/", authorities}, {"/usr/share/pki/", authorities},
	{"/etc/netplan/", network}, {"/etc/systemd/network/", network}, {"/etc/NetworkManager/", network}, {"/etc/network/", network}, {"/etc/sysconfig/network", network},
	{"/etc/chrony", clock}, {"/etc/ntp", clock}, {"/etc/systemd/timesyncd.conf", clock},
	{"/etc/docker/daemon.json", "/etc/containerd/config.toml, or /etc/containerd/certs.d"},
}

const (
	flags       = "/etc/kubernetes/kubelet-flags"
	environment = "/etc/kios/environment.yaml"
	authorities = "a file in /etc/ssl/certs, or ca_certs of cloud-config"
	network     = "/etc/kios/network.yaml"
	clock       = "/etc/kios/time.yaml, or ntp of cloud-config"
)

// List has the files of one part of user data, in order, until it is known which of them
// are for the node.
type List struct {
	node  *want.Node
	files []want.File
	left  int // bytes that files may still have
	gzip  int // bytes that may still be unpacked, for files that are refused, too
}

// New makes a list for the files that node is still to get.
func New(node *want.Node) *List {
	l := &List{node: node, left: maxBytes, gzip: maxBytes}
	for _, f := range node.Files {
		l.left -= len(f.Content)
	}
	return l
}

// Gunzip unpacks the content of a file.
func (l *List) Gunzip(content []byte) ([]byte, error) { return bounded.Gunzip(content, &l.gzip) }

// Add adds a file, wherever it is.
func (l *List) Add(f want.File) error {
	if f.Path == "" {
		return errors.New("it has no path")
	}
	if len(f.Content) > l.left || len(l.files)+len(l.node.Files) >= maxFiles {
		return fmt.Errorf("%s: user data may have at most %d files, of at most %d bytes in all", f.Path, maxFiles, maxBytes)
	}
	f.Path = clean(f.Path)
	l.left -= len(f.Content)
	l.files = append(l.files, f)
	return nil
}

// clean spells a path in the one way, unless it leads through a parent directory.
func clean(name string) string {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return name
	}
	return path.Clean(name)
}

// Take takes the file at name out of the list, or out of what earlier parts gave the node:
// it is for somebody else than the node.
func (l *List) Take(name string) (content []byte, found bool) {
	name = clean(name)
	if content, found = l.content(name); found {
		is := func(f want.File) bool { return f.Path == name }
		l.node.Files = slices.DeleteFunc(l.node.Files, is)
		l.files = slices.DeleteFunc(l.files, is)
	}
	return content, found
}

// Script returns the file at name, which is a script. Where nobody but a shell would read it,
// it is taken out of the list.
func (l *List) Script(name string) (content []byte, found bool) {
	if name = clean(name); Allowed(name) != nil {
		return l.Take(name)
	}
	return l.content(name)
}

func (l *List) content(name string) (content []byte, found bool) {
	for _, list := range [][]want.File{l.node.Files, l.files} {
		for _, f := range list {
			switch {
			case f.Path == name && f.Append:
				content, found = append(content, f.Content...), true
			case f.Path == name:
				content, found = slices.Clone(f.Content), true
			}
		}
	}
	return content, found
}

// Has reports whether a file is in the directory dir, or below it.
func (l *List) Has(dir string) bool {
	return l.any(func(f want.File) bool { return strings.HasPrefix(f.Path, clean(dir)+"/") })
}

// Contains reports whether a file is at name.
func (l *List) Contains(name string) bool {
	return l.any(func(f want.File) bool { return f.Path == name })
}

// any looks in this part of the user data, and in the earlier ones.
func (l *List) any(is func(want.File) bool) bool {
	return slices.ContainsFunc(l.files, is) || slices.ContainsFunc(l.node.Files, is)
}

// Give gives the node those files that it may have.
func (l *List) Give() {
	l.files = slices.DeleteFunc(l.files, func(f want.File) bool {
		if Allowed(f.Path) != nil {
			return false
		}
		l.node.Files = append(l.node.Files, f)
		return true
	})
}

// Done gives the node its files, and names the others.
func (l *List) Done() {
	l.Give()
	for _, f := range l.files {
		l.node.Skip("file %.200q: %v", f.Path, Allowed(f.Path))
	}
	l.files = nil
}
