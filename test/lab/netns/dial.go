package netlab

import (
	"net"
	"time"
)

// Dial connects to an address, not a name, as a program in the namespace would.
func Dial(namespace, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := inNamespace(namespace, func() (err error) {
		conn, err = net.DialTimeout(network, address, 2*time.Second)
		return err
	})
	return conn, err
}
