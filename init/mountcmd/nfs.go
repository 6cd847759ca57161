package mountcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel speaks NFS, and the mount protocol of version 3, by itself. What it leaves
// to mount.nfs(8) is to find the server's address and a version that both sides know
// (see nfs(5), and fs/nfs/fs_context.c of the kernel).

// nfsMount is one mount(2) that is tried.
type nfsMount func(data string) error

// mountNFS mounts SERVER:PATH. The options are the user's.
func mountNFS(source, target string, o mountOptions) error {
	host, err := nfsHost(source)
	if err != nil {
		return err
	}
	addresses, err := nfsAddresses(host, o.data)
	if err != nil {
		return err
	}
	err = negotiate(o.data, addresses, statd(), func(data string) error {
		return unix.Mount(source, target, "nfs", o.flags, data)
	})
	return explainNFS(err, source)
}

// nfsHost returns the server of SERVER:PATH. An IPv6 address is in brackets.
func nfsHost(source string) (string, error) {
	host, path, found := strings.Cut(source, ":")
	if rest, bracket := strings.CutPrefix(source, "["); bracket {
		host, path, found = strings.Cut(rest, "]:")
	}
	if !found || host == "" || !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%q is not of the form SERVER:/PATH (with an IPv6 address: [ADDRESS]:/PATH)", source)
	}
	return host, nil
}

// resolveBound is for the name server: the kubelet tries again.
const resolveBound = 20 * time.Second

// nfsAddresses returns the options that name the server's addresses, in the order in
// which they are to be tried.
func nfsAddresses(host, data string) ([]string, error) {
	if hasOption(data, "addr") {
		return []string{""}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveBound)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("find the address of the NFS server %s: %w: the node asks the name servers of its own /etc/resolv.conf, not those of the cluster", host, err)
	}
	var options []string
	for _, a := range found {
		a = a.Unmap()
		options = append(options, "addr="+a.String()+clientAddress(a))
	}
	return options, nil
}

// clientAddress returns the option with the node's own address towards a server, which
// version 4.0 tells the server for its calls back.
func clientAddress(server netip.Addr) string {
	c, err := net.Dial("udp", netip.AddrPortFrom(server, 2049).String()) // sends nothing
	if err != nil {
		return ""
	}
	defer c.Close()
	own, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return ""
	}
	return ",clientaddr=" + own.Addr().WithZone("").String()
}

// statd reports whether locks of version 3 could work: they need rpc.statd beside the
// kernel, which a pod in the host's network may run with rpcbind.
func statd() bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:111", time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// negotiate tries versions, the newest first, and the addresses for each, until one is
// mounted. What the user has named is not changed. As mount.nfs(8) does, it tries version 3
// also if version 4 is there but does not show the path.
func negotiate(data string, addresses []string, locks bool, mount nfsMount) error {
	var last error
	for _, version := range nfsVersions(data) {
		three := is3(join(data, version))
		if isHidden(last) && !three {
			continue // it is the same with other minor versions
		}
		if three && !locks && !localLocks(data) {
			return errors.Join(last, errors.New("NFS version 3 needs rpc.statd for locks, which this node does not have: add the mount option nolock if no other node locks files there, or use a server with version 4"))
		}
		err := mountAt(join(data, version), addresses, mount)
		switch {
		case err == nil:
			return nil
		case isHidden(last): // version 3 is a guess, and the first error tells more
			return last
		case !isHidden(err) && !errors.Is(err, unix.EPROTONOSUPPORT):
			return err
		}
		last = err
	}
	return last
}

// mountAt tries the addresses in turn.
func mountAt(data string, addresses []string, mount nfsMount) (err error) {
	for _, address := range addresses {
		if err = mount(join(data, address)); err == nil {
			return nil
		}
	}
	return err
}

// isHidden reports whether a server may have a path in version 3 only: some have no root
// of version 4 above it, and very old ones do not permit that version.
func isHidden(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) }

// nfsVersions returns the options to try in turn.
func nfsVersions(data string) []string {
	minors := []string{"vers=4.2", "vers=4.1", "vers=4.0"}
	switch version, _ := nfsVersion(data); version {
	case "":
		return append(minors, "vers=3")
	case "4":
		if !hasOption(data, "minorversion") {
			return minors // the last option counts
		}
	}
	return []string{""}
}

// nfsVersion returns what the options ask for.
func nfsVersion(data string) (version string, found bool) {
	for _, word := range splitOptions(data) {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "vers" || key == "nfsvers":
			version, found = value, true
		case slices.Contains([]string{"v3", "v4", "v4.0", "v4.1", "v4.2"}, word):
			version, found = word[1:], true
		}
	}
	return version, found
}

func is3(data string) bool {
	version, _ := nfsVersion(data)
	return version == "3"
}

// localLocks reports whether locks are not sent to the server.
func localLocks(data string) bool {
	return hasOption(data, "nolock") || slices.Contains(splitOptions(data), "local_lock=all")
}

func hasOption(data, name string) bool {
	return slices.ContainsFunc(splitOptions(data), func(word string) bool {
		key, _, _ := strings.Cut(word, "=")
		return key == name
	})
}

func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ",")
}

// explainNFS adds what errors of NFS usually mean.
func explainNFS(err error, source string) error {
	for errno, meaning := range map[error]string{
		unix.EPROTONOSUPPORT: "the server does not have that version of NFS",
		unix.ENOENT:          "the server does not export that path",
		unix.EACCES:          "the server does not let this node in: check its exports",
		unix.ENODEV:          "the kernel's modules for NFS are not there: a machine with little memory leaves them out",
		unix.EINVAL:          "the kernel does not accept an option (sec=krb5 needs rpc.gssd, which this node does not have)",
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("NFS volume %s: %w: %s", source, err, meaning)
		}
	}
	if err != nil {
		return fmt.Errorf("NFS volume %s: %w", source, err)
	}
	return nil
}
