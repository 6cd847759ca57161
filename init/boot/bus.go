package boot

import (
	"errors"

	"kios/init/systembus"
	"kios/init/systemsock"
)

// listenBus serves the system bus. It must be there before the kubelet, which
// starts no pod before the bus has answered it.
func (n *Node) listenBus() error {
	server, err := systembus.Listen(systembus.Path, systembus.Host{
		Log:               n.Log,
		Stop:              n.stopFor,
		Unit:              n.unit,
		RestartUnit:       n.restartUnit,
		StaticHostname:    staticHostname,
		SetStaticHostname: n.setStaticHostname,
		SetHostname:       n.setTransientHostname,
	})
	if err != nil {
		return err
	}
	n.bus.Store(server)
	n.spawn("system bus", server.Run)
	return nil
}

// setTransientHostname offers the node a name. As hostnamed has it, a static one
// that stands above it is no error.
func (n *Node) setTransientHostname(name, _ string) error {
	err := n.serialize(func() (refusal, failure error) { return n.offerHostname(name), nil })
	if errors.Is(err, errNamed) {
		return nil
	}
	return err
}

// stopFor is what the bus calls when one of its clients wants the machine stopped.
func (n *Node) stopFor(a systembus.Action, cause string) {
	n.requestShutdown(shutdownRequest{action: a, cause: cause})
}

// listenSystemSocket serves the socket of the first kiOS.
func (n *Node) listenSystemSocket() error {
	server, err := systemsock.Listen(systemsock.Path, n.receiveByte)
	if err != nil {
		return err
	}
	n.sock.Store(server)
	n.spawn("system socket", func() { server.Run(n.Log.Error) })
	return nil
}

func (n *Node) receiveByte(b systemsock.Byte) {
	const cause = "a client of " + systemsock.Path
	restart := func(unit string) { n.restartOnce(unit, cause) }
	switch b {
	case systemsock.Stop:
		n.requestShutdown(shutdownRequest{action: systembus.PowerOff, cause: cause})
	case systemsock.GoOn:
		n.requestShutdown(shutdownRequest{action: systembus.PowerOff, cause: cause, immediate: true})
	case systemsock.RestartKubelet:
		restart(systembus.Kubelet)
	case systemsock.RestartRuntime:
		restart(systembus.Containerd)
	default:
		n.strangers.to(n.Log.Info, "%s sent the unknown byte %#02x", cause, byte(b))
	}
}

// restartOnce restarts a daemon unless a restart that was asked for in this way has not
// ended yet: nobody gets an answer, and a client may ask as often as it likes.
func (n *Node) restartOnce(unit, cause string) {
	if _, busy := n.restarting.LoadOrStore(unit, true); busy {
		return
	}
	n.spawn("restart "+unit, func() {
		defer n.restarting.Delete(unit)
		if err := n.restartUnit(unit, cause); err != nil {
			n.strangers.to(n.Log.Warn, "restart "+unit+": %v", err)
		}
	})
}
