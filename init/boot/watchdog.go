package boot

import (
	"fmt"
	"time"

	"kios/init/systembus"
	"kios/init/watchdog"
)

// feeds is how often the watchdog is fed within its timeout. Each part of PID 1 has as
// long to show that it works, so the machine is not reset because of one slow moment.
const feeds = 6

// startWatchdog starts the machine's watchdog, which resets it if PID 1 or the kernel
// hangs. With panic=0 somebody wants to look at a machine that hangs.
func (n *Node) startWatchdog() error {
	options := n.options.Load()
	if options.Watchdog == 0 || options.StayUp {
		return nil
	}
	device, err := watchdog.Open("/dev", "/sys", options.Watchdog)
	if err != nil || device == nil {
		return err
	}
	n.Log.Info("%s resets the machine if it hangs for %v", device.Path, device.Timeout)
	n.watchdog.Store(device)
	n.spawn("watchdog", func() { n.feed(device) })
	return nil
}

// feed feeds the watchdog as long as PID 1 works, and until the last moment.
func (n *Node) feed(device *watchdog.Device) {
	interval := device.Timeout / feeds
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for healthy := true; ; {
		err := n.hung(interval)
		if err == nil {
			err = device.Feed()
		}
		if err != nil && healthy {
			n.Log.Error("%s resets the machine soon: %v", device.Path, err)
		}
		healthy = err == nil
		select {
		case <-tick.C:
		case <-n.ended.done():
			device.Feed()
			return
		}
	}
}

// part is one of those of PID 1 that the watchdog is fed by.
type part struct {
	name string
	ping func(time.Duration) bool
}

// parts are those without which a node cannot be told anything. One that fails has only
// to save what it has.
func (n *Node) parts() []part {
	all := []part{
		{"the main goroutine", n.ping},
		{"the reaper", n.reaper.Ping},
		{"the receiver of the daemons' messages", n.pingMessages},
	}
	if n.failing.isSet() {
		return all[:1]
	}
	return all
}

// hung returns an error if a part of PID 1 does not answer within the bound.
func (n *Node) hung(bound time.Duration) error {
	for _, part := range n.parts() {
		if !part.ping(bound) {
			return fmt.Errorf("%s of PID 1 hangs", part.name)
		}
	}
	return nil
}

// ping reports whether the main goroutine receives, or the one that does so while the
// node stops or fails.
func (n *Node) ping(bound time.Duration) bool {
	select {
	case n.inbox.pings <- struct{}{}:
		return true
	case <-time.After(bound):
		return false
	}
}

// failBound is more than it takes a node that fails to end; see save, and ending.Fail.
const failBound = 2 * time.Minute

// receiveWhileFailing has the watchdog fed while the node saves what it has, but not for
// longer than that may take.
func (n *Node) receiveWhileFailing(late <-chan time.Time) {
	for {
		select {
		case <-n.inbox.pings:
		case <-late:
			return
		}
	}
}

func (n *Node) pingMessages(bound time.Duration) bool {
	server := n.messages.Load()
	return server == nil || server.Ping(bound) // it may not have been started yet
}

// letGo readies the watchdog for the end of the machine, and what comes after it. For a
// power-off nothing comes after it.
func (n *Node) letGo(action systembus.Action) {
	switch action {
	case systembus.Halt:
		n.disarm()
	case systembus.Reboot:
		n.prolong()
	}
}

// restartTimeout is more than most servers need until the next kernel is there. Those
// with much memory test it for minutes.
const restartTimeout = 10 * time.Minute

// prolong gives a restart more time. Most drivers stop their watchdog when the kernel
// begins to restart; for what happens until then, and for the other drivers, it goes on
// until the next kernel's driver takes it over.
func (n *Node) prolong() {
	device := n.watchdog.Load()
	if device == nil {
		return
	}
	timeout, err := device.Prolong(restartTimeout)
	if err != nil {
		n.Log.Warn("give the restart more time than %v before %s resets the machine: %v", device.Timeout, device.Path, err)
		return
	}
	n.Log.Info("%s gives the restart %v", device.Path, timeout)
}

// disarm stops the watchdog. It is for machines that are to stay halted.
func (n *Node) disarm() {
	if device := n.watchdog.Load(); device != nil {
		if err := device.Disarm(); err != nil {
			n.Log.Warn("stop %s, which resets the machine in %v: %v", device.Path, device.Timeout, err)
		}
	}
}
