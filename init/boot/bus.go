package boot

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"kios/init/supervise"
	"kios/init/systembus"
	"kios/init/systemsock"
	"kios/internal/identity"
	"kios/internal/kubeletargs"
)

// listenBus serves the system bus. It must be there before the kubelet, which
// starts no pod before the bus has answered it.
func (n *Node) listenBus() error {
	server, err := systembus.Listen(systembus.Path, systembus.Host{
		Log:               n.Log,
		Stop:              func(a systembus.Action, cause string) { n.wish(wish{action: a, cause: cause}) },
		Unit:              n.unit,
		RestartUnit:       n.restartUnit,
		StaticHostname:    staticHostname,
		SetStaticHostname: n.setStaticHostname,
		SetHostname: func(name, _ string) error {
			return n.ask(func() error { return n.takeHostname(name) })
		},
	})
	if err != nil {
		return err
	}
	n.bus = server
	n.spawn("system bus", server.Run)
	return nil
}

// listenSystemSocket serves the socket of the first kiOS.
func (n *Node) listenSystemSocket() error {
	server, err := systemsock.Listen(systemsock.Path, n.receiveByte)
	if err != nil {
		return err
	}
	n.sock = server
	n.spawn("system socket", server.Run)
	return nil
}

func (n *Node) receiveByte(b systemsock.Byte) {
	const cause = "a client of " + systemsock.Path
	restart := func(unit string) {
		n.spawn("restart "+unit, func() {
			if err := n.restartUnit(unit, cause); err != nil {
				n.Log.Warn("restart %s: %v", unit, err)
			}
		})
	}
	switch b {
	case systemsock.Stop:
		n.wish(wish{action: systembus.PowerOff, cause: cause})
	case systemsock.GoOn:
		n.wish(wish{action: systembus.PowerOff, cause: cause, hurry: true})
	case systemsock.RestartKubelet:
		restart(systembus.Kubelet)
	case systemsock.RestartRuntime:
		restart(systembus.Containerd)
	default:
		n.Log.Info("the byte %#02x of %s means nothing", byte(b), cause)
	}
}

// daemon returns the daemon of a unit, or nil if it has not been started yet.
func (n *Node) daemon(unit string) *supervise.Daemon {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.daemons {
		if d.Name+".service" == unit {
			return d
		}
	}
	return nil
}

// unit tells of a daemon in systemd's words.
func (n *Node) unit(name string) systembus.Unit {
	u := systembus.Unit{Description: unitDescriptions[name], Active: "inactive", Sub: "dead"}
	d := n.daemon(name)
	if d == nil {
		return u
	}
	u.PID, u.Restarts = d.Pid(), d.Restarts()
	n.mu.Lock()
	ready := n.ready[d.Name]
	n.mu.Unlock()
	switch {
	case u.PID == 0 && n.isStopping():
	case u.PID == 0:
		u.Active, u.Sub = "activating", "auto-restart"
	case u.PID == ready:
		u.Active, u.Sub = "active", "running"
	default:
		u.Active, u.Sub = "activating", "start"
	}
	return u
}

var unitDescriptions = map[string]string{
	systembus.Kubelet:    "the Kubernetes node agent",
	systembus.Containerd: "the container runtime",
}

// readyBound is how long a daemon may take to be ready. Under emulation the
// kubelet takes half a minute on a busy machine.
const readyBound = 2 * time.Minute

// restartUnit returns when the daemon is ready again.
func (n *Node) restartUnit(unit, cause string) error {
	d := n.daemon(unit)
	if d == nil {
		return errors.New("it has not been started yet")
	}
	if n.isStopping() {
		return errStopping // the kubelet has pods to stop
	}
	before := d.Pid()
	n.Log.Notice("%s starts again, as %s asks", d.Name, cause)
	d.Restart(daemonBound)
	return n.awaitReady(d, before)
}

// awaitReady waits until another process of the daemon than the one before
// says that it is ready.
func (n *Node) awaitReady(d *supervise.Daemon, before int) error {
	late := time.After(readyBound)
	for {
		n.mu.Lock()
		pid, news := n.ready[d.Name], n.readyNews
		n.mu.Unlock()
		if pid != 0 && pid != before && pid == d.Pid() {
			return nil
		}
		select {
		case <-news:
		case <-n.stopping:
			return errStopping
		case <-late:
			return fmt.Errorf("%s is not ready after %v", d.Name, readyBound)
		}
	}
}

// noteReady remembers which process of a daemon is ready.
func (n *Node) noteReady(name string) {
	d := n.daemon(name + ".service")
	if d == nil {
		return
	}
	pid := d.Pid()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready[name] = pid
	close(n.readyNews)
	n.readyNews = make(chan struct{})
}

func staticHostname() string {
	text, _ := readIfThere("/etc/hostname")
	return strings.TrimSpace(text)
}

// setStaticHostname writes /etc/hostname, or removes it for "". The kubelet
// learns its name when it starts.
func (n *Node) setStaticHostname(name, cause string) error {
	if name != "" {
		if _, err := identity.ParseHostname(name); err != nil {
			return err
		}
	}
	return n.ask(func() error {
		if name == staticHostname() {
			return nil
		}
		if (kubeletargs.Files{Root: "/"}).Known() {
			return fmt.Errorf("the node is known to its cluster as %s, and another name would make another node of it: "+
				"drain and delete the node, remove /etc/kubernetes/kubelet.conf, then name it", n.name())
		}
		if err := writeHostname("/etc/hostname", name); err != nil {
			return err
		}
		n.Log.Notice("/etc/hostname names this node %q now, as %s asks; the kubelet starts again", name, cause)
		n.kubelet.Restart(daemonBound)
		return nil
	})
}

func writeHostname(file, name string) error {
	if name != "" {
		return replaceFile(file, name+"\n", 0o644)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
