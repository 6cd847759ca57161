package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kios/host/arch"
)

// SwitchConfig describes a network of machines of this host that takes no
// root: a QEMU without a machine in it, whose ports are Unix sockets that a hub
// joins.
//
//	machine A -- A.sock --+
//	                      +-- hub
//	machine B -- B.sock --+
//
// A hub copies each frame to all ports; the cards leave out what is not theirs.
// QEMU's user-mode network is none of the ports: it takes every frame for its
// own, whatever its address, and resets the connections of others. Whoever may
// enter Dir may join the network.
type SwitchConfig struct {
	Dir   string // as Config.Dir, with a socket NAME.sock for each port
	Ports []string
}

// Switch is a running switch.
type Switch struct{ *Detached }

// StartSwitch starts a switch that runs until Kill.
func StartSwitch(ctx context.Context, cfg SwitchConfig) (*Switch, error) {
	if err := checkNotRunning(cfg.Dir); err != nil {
		return nil, err
	}
	d, err := detachSwitch(ctx, cfg)
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

// detachSwitch starts QEMU with the listening sockets of the ports.
func detachSwitch(ctx context.Context, cfg SwitchConfig) (*Detached, error) {
	var ports []*os.File
	defer func() {
		for _, f := range ports {
			f.Close()
		}
	}()
	for _, name := range cfg.Ports {
		f, err := listen(PortSocket(cfg.Dir, name))
		if err != nil {
			return nil, err
		}
		ports = append(ports, f)
	}
	return detach(ctx, arch.Host(), cfg.Dir, cfg.args(), ports...)
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
	args := []string{
		"-name", "kios-network",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "none",
		"-chardev", "socket,id=qmp,server=on,wait=off,fd=3", "-mon", "chardev=qmp,mode=control",
	}
	for i, name := range c.Ports {
		args = append(args,
			"-netdev", fmt.Sprintf("stream,id=%s,server=on,addr.type=fd,addr.str=%d", portID(name), 4+i),
			"-netdev", fmt.Sprintf("hubport,id=hub-%s,hubid=0,netdev=%s", name, portID(name)))
	}
	return args
}
