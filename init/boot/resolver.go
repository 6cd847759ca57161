package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// The pod network knows the name servers, and must not be able to write to /etc, where
// all keys and manifests are. It writes a file of its own, to which /etc/resolv.conf
// leads. The link has no leading slash: it is right wherever a pod mounts the node's
// root, too.
const (
	resolvLink   = "../run/kios/network/resolv.conf"
	resolvHead   = "# Written by kiOS"
	resolvOld    = resolvHead + " from DHCP. Without this line, the file is yours and stays as it is.\n"
	resolvPlain  = resolvHead + ". No name servers are known yet.\n"
	resolvLength = 64 << 10 // more than any sensible one has
)

// resolver is the files about name servers below a root directory.
type resolver struct{ root string }

func (r resolver) etc() string     { return filepath.Join(r.root, "etc/resolv.conf") }
func (r resolver) network() string { return filepath.Join(r.root, "run/kios/network/resolv.conf") }

// last is a copy of what the pod network wrote in this boot or the one before.
func (r resolver) last() string {
	return filepath.Join(r.root, "var/lib/kios/network/resolv.conf")
}

// linkResolver makes /etc/resolv.conf usable: the kubelet starts no pod without. What
// fails costs name servers, so it is said and the boot goes on.
func (n *Node) linkResolver(r resolver) {
	if err := r.prepare(); err != nil {
		n.Log.Error("names will not resolve: %v", err)
	}
	reason, err := r.replaceable()
	if err == nil && reason == keep {
		return
	}
	if err == nil {
		err = r.link()
	}
	if err != nil {
		n.Log.Error("%s stays as it is: %v", r.etc(), err)
		return
	}
	if reason != silently {
		n.Log.Error("%s is not used: %s; the name servers of the network are used", r.etc(), reason)
	}
}

const (
	keep     = "" // the user's file, or the link already
	silently = "it is ours"
)

// replaceable says why the link takes the place of what is at /etc/resolv.conf.
func (r resolver) replaceable() (string, error) {
	info, err := os.Lstat(r.etc())
	if errors.Is(err, fs.ErrNotExist) {
		return silently, nil
	}
	if err != nil {
		return keep, err
	}
	if target, err := os.Readlink(r.etc()); err == nil {
		return r.linked(target), nil
	}
	if !info.Mode().IsRegular() {
		return "it is no file", nil
	}
	// Before there was the link, the pod network wrote here itself. A user's file may
	// begin with the first line of today's.
	if text, err := readHead(r.etc()); err == nil && bytes.HasPrefix(text, []byte(resolvOld)) {
		return silently, nil
	}
	return r.refused(), nil
}

// refused says what of the user's file the kubelet would not take: then it starts no pod,
// the network's included (parseResolvConf, k8s.io/kubernetes/pkg/kubelet/network/dns).
func (r resolver) refused() string {
	text, err := userfile.Read(r.etc(), resolvLength)
	if err != nil {
		return err.Error()
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if strings.TrimSpace(line) == "nameserver" {
			return fmt.Sprintf("line %d has no address: write nameserver ADDRESS", n)
		}
	}
	return keep
}

// linked is replaceable for a symbolic link. systemd's leads to a file that a service
// of systemd writes.
func (r resolver) linked(target string) string {
	if target == resolvLink {
		return keep
	}
	info, err := os.Stat(r.etc())
	if err != nil {
		return fmt.Sprintf("it is a link to %s, which is not there", target)
	}
	if !info.Mode().IsRegular() {
		return fmt.Sprintf("it is a link to %s, which is no file", target)
	}
	return r.refused()
}

func (r resolver) link() error {
	temporary := filepath.Join(filepath.Dir(r.etc()), ".resolv.conf.kios")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(resolvLink, temporary); err != nil {
		return err
	}
	if info, err := os.Lstat(r.etc()); err == nil && info.IsDir() {
		_ = os.Remove(r.etc()) // or the rename says what is in the way
	}
	return os.Rename(temporary, r.etc())
}

// prepare makes the pod network's file, unless it is there, with the name servers of
// the boot before: pods that start before the network must find some.
func (r resolver) prepare() error {
	if err := os.MkdirAll(filepath.Dir(r.network()), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(r.network()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := readHead(r.last())
	if err != nil || !bytes.HasPrefix(text, []byte(resolvHead)) {
		text = []byte(resolvPlain)
	}
	return wholefile.Volatile(r.network(), text, 0o644)
}

// readHead reads a file that a pod or a user wrote: nothing but a regular one, and not
// more than makes sense.
func readHead(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: %w", path, err)
	}
	return io.ReadAll(io.LimitReader(f, resolvLength))
}
