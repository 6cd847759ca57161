package qemu

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// SwitchConfig describes a network of machines of this host that takes no
// root: a QEMU without a machine in it, whose ports are Unix sockets. A hub
// joins them with QEMU's user-mode network, which is the way out, the DNS
// server and what the host's forwarded ports lead through.
//
//	machine A -- A.sock --+
//	                      +-- hub -- user-mode network -- host
//	machine B -- B.sock --+
//
// A hub copies each frame to all ports; the cards leave out what is not theirs.
// Whoever may enter Dir may join the network.
type SwitchConfig struct {
	Dir     string       // as Config.Dir, with a socket NAME.sock for each port
	Subnet  netip.Prefix // the user-mode network is at .2 (gateway) and .3 (DNS) of it
	Ports   []string
	Forward []Forward
}

// Forward leads from a TCP port of the host's loopback interface to one of a
// machine on a switch.
type Forward struct {
	Host  int
	Guest netip.AddrPort
}

// Switch is a running switch.
type Switch struct{ *Detached }

// StartSwitch starts a switch that runs until Kill. A forwarded port that is
// taken is ErrPortTaken.
func StartSwitch(ctx context.Context, cfg SwitchConfig) (*Switch, error) {
	if err := checkNotRunning(cfg.Dir); err != nil {
		return nil, err
	}
	var ports []*os.File
	defer func() {
		for _, f := range ports {
			f.Close()
		}
	}()
	for _, name := range cfg.Ports {
		f, err := listen(PortSocket(cfg.Dir, name))
		if err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
		ports = append(ports, f)
	}
	d, err := detach(ctx, cfg.Dir, cfg.args(), ports...)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	// QEMU (seen in 7.2) takes the sockets over in threads of its own, and a
	// frame for a port that is not taken over yet ends it, unless its link is
	// down. A machine that connects sets it up.
	for _, name := range cfg.Ports {
		if err := d.SetLink(ctx, portID(name), false); err != nil {
			d.Kill()
			return nil, fmt.Errorf("network: %w", err)
		}
	}
	return &Switch{d}, nil
}

// AttachSwitch finds the running switch of a directory, or returns
// ErrNotRunning.
func AttachSwitch(dir string) (*Switch, error) {
	d, err := Attach(dir)
	if err != nil {
		return nil, err
	}
	return &Switch{d}, nil
}

// PortSocket is the socket of a port of the switch in dir, for Config.Switch.
func PortSocket(dir, port string) string { return filepath.Join(dir, port+".sock") }

func portID(port string) string { return "port-" + port }

func (c SwitchConfig) args() []string {
	user := "user,id=user,ipv6=off,net=" + c.Subnet.Masked().String()
	for _, f := range c.Forward {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-%s", f.Host, f.Guest)
	}
	args := []string{
		"-name", "kios-network",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "none",
		"-chardev", "socket,id=qmp,server=on,wait=off,fd=3", "-mon", "chardev=qmp,mode=control",
		"-netdev", user,
		"-netdev", "hubport,id=hub-user,hubid=0,netdev=user",
	}
	for i, name := range c.Ports {
		args = append(args,
			"-netdev", fmt.Sprintf("stream,id=%s,server=on,addr.type=fd,addr.str=%d", portID(name), 4+i),
			"-netdev", fmt.Sprintf("hubport,id=hub-%s,hubid=0,netdev=%s", name, portID(name)))
	}
	return args
}
