// Package hostpath lists the directories of the read-only root that pods write to:
// links into /var. The build makes the links, PID 1 the directories that they lead to.
//
// The directories follow the Filesystem Hierarchy Standard; that they are links into
// /var is the way of ostree. A hostPath volume follows links, in its path and at its end.
package hostpath

import (
	"io/fs"
	"path"
	"strings"
)

// Link is a link of the root and the directory of /var that it leads to.
type Link struct {
	Path string // without the slash at the beginning
	Dir  string // in /var
	Mode fs.FileMode
	Who  string // puts files there
}

// Links are all of them.
var Links = []Link{
	{"data", "data", 0o755, "examples of hostPath volumes"},
	{"home", "home", 0o755, "agents of clouds (/home/kubernetes)"},
	{"media", "media", 0o755, "drivers that mount removable media"},
	{"mnt", "mnt", 0o755, "local volumes (/mnt/disks, /mnt/data)"},
	{"opt", "opt", 0o755, "local-path-provisioner, Portworx, Kata, agents of Datadog and of others"},
	{"root", "roothome", 0o700, "the home of root"},
	{"srv", "srv", 0o755, "exports of file servers"},
	{"usr/local", "usrlocal", 0o755, "kubeadm (share/ca-certificates), CSI drivers"},
}

// Target returns what the link says. It is relative, so that it leads to the same place
// in a container that has the host's root somewhere else.
func (l Link) Target() string {
	return path.Join(strings.Repeat("../", strings.Count(l.Path, "/")), "var", l.Dir)
}
