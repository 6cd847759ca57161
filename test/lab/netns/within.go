package netlab

import (
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// OpenTap attaches to a tap interface of the namespace. The file goes on to
// belong to the namespace when its opener has left that.
func OpenTap(t *testing.T, namespace, device string) *os.File {
	t.Helper()
	var file *os.File
	err := inNamespace(namespace, func() (err error) {
		file, err = openTap(device)
		return err
	})
	if err != nil {
		t.Fatalf("open the tap interface %s: %v", device, err)
	}
	return file
}

// Listen listens in the namespace for connections, which the test then serves
// from outside.
func Listen(t *testing.T, namespace, address string) net.Listener {
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
