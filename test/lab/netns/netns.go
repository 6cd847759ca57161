// Package netns runs programs in network namespaces, for the tests that try ours
// against real servers. It takes root and Debian's iproute2.
package netns

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// Add makes a network namespace for as long as the test runs. Its interface lo is
// up.
func Add(t testing.TB, name string) {
	t.Helper()
	lab.NeedRoot(t)
	lab.Run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { lab.Run(t, "ip", "netns", "del", name) })
	lab.Run(t, "ip", "-n", name, "link", "set", "lo", "up")
}

// IP runs ip in the namespace and returns what it printed.
func IP(t testing.TB, namespace string, args ...string) string {
	t.Helper()
	return lab.Run(t, "ip", append([]string{"-n", namespace}, args...)...)
}

// Dial connects to an address, not a name, as a program in the namespace would.
func Dial(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := inNamespace(namespace, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in the namespace for connections, which the test then serves
// from outside.
func Listen(t testing.TB, namespace, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	err := inNamespace(namespace, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatalf("listen at %s: %v", address, err)
	}
	return listener
}

// OpenTap attaches to a tap interface of the namespace until the test ends. The
// file goes on to belong to the namespace when its opener has left that.
func OpenTap(t testing.TB, namespace, device string) *os.File {
	t.Helper()
	var file *os.File
	err := inNamespace(namespace, func() (err error) {
		file, err = openTap(device)
		return err
	})
	if err != nil {
		t.Fatalf("open the tap interface %s: %v", device, err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// inNamespace calls do in the network namespace. Sockets stay in the namespace that
// they were made in.
func inNamespace(namespace string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		done <- enterAnd("/run/netns/"+namespace, do)
	}()
	return <-done
}

func enterAnd(namespace string, do func() error) error {
	ns, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return do()
}

func openTap(device string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap"), nil
}
