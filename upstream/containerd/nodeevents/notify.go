// Package nodeevents tells init what happens to containers and images, in
// datagrams on the socket that NOTIFY_SOCKET names, as sd_notify(3) describes
// it: lines KEY=VALUE, ours all starting with X_KIOS_. Nothing waits for init:
// a datagram that does not fit into the socket's buffer is dropped.
package nodeevents

import (
	"errors"
	"net"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Notifier sends datagrams. A nil Notifier sends nothing.
type Notifier struct {
	address string

	mu   sync.Mutex
	conn *net.UnixConn
}

// Open connects to the socket of NOTIFY_SOCKET. It returns nil when address is
// empty or nobody listens there: containerd also runs without init.
func Open(address string) *Notifier {
	if address == "" {
		return nil
	}
	if strings.HasPrefix(address, "@") {
		address = "\x00" + address[1:]
	}
	conn, err := dial(address)
	if err != nil {
		return nil
	}
	return &Notifier{address: address, conn: conn}
}

func dial(address string) (*net.UnixConn, error) {
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
}

// Send sends one event: alternating keys, without the prefix X_KIOS_, and
// values. Newlines in values become spaces; they would start a new line.
func (n *Notifier) Send(event string, fields ...string) {
	if n == nil {
		return
	}
	var b strings.Builder
	b.WriteString("X_KIOS_EVENT=" + event + "\n")
	for i := 0; i+1 < len(fields); i += 2 {
		b.WriteString("X_KIOS_" + fields[i] + "=" + strings.ReplaceAll(fields[i+1], "\n", " ") + "\n")
	}
	n.write(b.String())
}

// Alive tells init's watchdog that containerd is well.
func (n *Notifier) Alive() {
	if n != nil {
		n.write("WATCHDOG=1")
	}
}

// write connects again if init has bound another socket, because somebody removed the
// file of the one before.
func (n *Notifier) write(datagram string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := send(n.conn, datagram)
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOTCONN) {
		return
	}
	if conn, err := dial(n.address); err == nil {
		n.conn.Close()
		n.conn = conn
		send(conn, datagram)
	}
}

func send(conn *net.UnixConn, datagram string) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	// Not conn.Write, which waits until there is room.
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), []byte(datagram), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		return true
	})
	return errors.Join(err, sendErr)
}
