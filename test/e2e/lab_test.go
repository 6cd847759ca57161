//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/internal/erofs"
	"kios/test/netlab"
)

// lab is a network of the test's own: a namespace with the interface "lan", at
// whose other end a machine's network card is, and servers in it. Nothing of it
// reaches any other network.
type lab struct {
	t    *testing.T
	name string
	tap  *os.File
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, name: fmt.Sprintf("kios-e2e-%d-%s", os.Getpid(), strings.ToLower(t.Name()))}
	netlab.Run(l.t, "ip", "netns", "add", l.name)
	t.Cleanup(func() { netlab.Run(l.t, "ip", "netns", "del", l.name) })
	l.ip("tuntap", "add", "lan", "mode", "tap")
	l.ip("addr", "add", "10.78.0.1/24", "dev", "lan")
	l.ip("addr", "add", "fd00:78::1/64", "dev", "lan", "nodad")
	l.ip("link", "set", "lan", "up")
	l.ip("link", "set", "lo", "up")
	l.tap = l.openTap()
	t.Cleanup(func() { l.tap.Close() })
	return l
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	netlab.Run(l.t, "ip", append([]string{"-n", l.name}, args...)...)
}

// openTap attaches to the interface. The file goes on to belong to the lab's
// namespace when its opener has left that.
func (l *lab) openTap() *os.File {
	l.t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		file, err := openTapIn("/run/netns/" + l.name)
		done <- result{file, err}
	}()
	r := <-done
	if r.err != nil {
		l.t.Fatalf("open the tap interface: %v", r.err)
	}
	return r.file
}

func openTapIn(namespace string) (*os.File, error) {
	ns, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq("lan")
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap"), nil
}

// serve starts a program in the lab that ends with the test.
func (l *lab) serve(argv ...string) *netlab.Process {
	l.t.Helper()
	return netlab.Start(l.t, l.name, nil, argv...)
}

// dhcp serves IPv4 and IPv6, names the machine, and tells of the time server.
func (l *lab) dhcp(hostname string) *netlab.Process {
	dir := l.t.TempDir()
	return l.serve("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--user=root",
		"--port=0", "--pid-file=", "--no-ping", "--interface=lan", "--bind-interfaces", "--enable-ra",
		"--dhcp-leasefile="+filepath.Join(dir, "leases"),
		"--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,10m",
		"--dhcp-range=fd00:78::1000,fd00:78::1fff,64,10m",
		"--dhcp-host=52:54:00:4b:05:01,10.78.0.60,"+hostname,
		"--dhcp-option=option:ntp-server,10.78.0.1", "--dhcp-option=option:dns-server,10.78.0.1",
		"--dhcp-option=option6:dns-server,[fd00:78::1]", "--dhcp-option=option:domain-search,lab.example")
}

// ntp serves this machine's time, which it leaves alone (-x), with the chronyd
// of the pod: installing one would start it.
func (l *lab) ntp() *netlab.Process {
	l.t.Helper()
	root := l.t.TempDir()
	if err := erofs.Extract(l.t.Context(), layer(l.t, "chrony"), root, erofs.Tools{}); err != nil {
		l.t.Fatal(err)
	}
	writeFile(l.t, filepath.Join(root, "chrony.conf"), "local stratum 5\nallow all\ncmdport 0\nbindcmdaddress /\npidfile /chronyd.pid\n")
	return l.serve("chroot", root, "/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", "/chrony.conf")
}

// layer returns the file of a layer of the OS' images.
func layer(t *testing.T, title string) string {
	t.Helper()
	for _, image := range inspect(t).Images {
		for _, l := range image.Layers {
			if l.Title == title {
				return out + "images/blobs/" + strings.Replace(l.Digest, ":", "/", 1)
			}
		}
	}
	t.Fatalf("no image has a layer %s", title)
	return ""
}
