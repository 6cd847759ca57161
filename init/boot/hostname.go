package boot

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"kios/internal/boottime"
	"kios/internal/control"
	"kios/internal/identity"
	"kios/internal/kubeletargs"
	"kios/internal/wholefile"

	"golang.org/x/sys/unix"
)

// offeredHostname holds the name that the network offered. It is on the data
// partition, so that the next boot starts with it.
const offeredHostname = "/var/meta/hostname"

func (n *Node) setHostname() error {
	text, file, err := hostnameText()
	if err != nil {
		n.once.Error("%v", identity.NotUsed(file, err))
	}
	name, err := identity.ParseHostname(text)
	if err != nil {
		name = identity.Hostname(n.self.get().machineID)
	}
	if err != nil && !errors.Is(err, identity.ErrEmpty) {
		n.once.Error("%v; the node is called %s", identity.NotUsed(file, err), name)
	}
	n.self.update(func(f *facts) { f.hostname = name })
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name %s: %w", name, err)
	}
	return nil
}

// hostnameText returns the text that names the node, and the file that it is
// from.
func hostnameText() (text, file string, err error) {
	for _, file := range []string{"/etc/hostname", offeredHostname} {
		text, err := readIfThere(file)
		if err != nil || hasName(text) {
			return text, file, err
		}
	}
	return "", "/etc/hostname", nil
}

// errNamed refuses an offered name.
var errNamed = errors.New("/etc/hostname names the node")

// offerHostname gives the node the name that the network offers, unless
// /etc/hostname has one. The kubelet learns its name when it starts, so it is
// started again; that restarts the static pods whose manifests have no
// metadata.uid (docs/decisions/0012), and happens whenever the network has
// another name than before. It is work.
func (n *Node) offerHostname(offer string) error {
	name, err := identity.ParseHostname(offer)
	if err != nil {
		return err
	}
	if text, err := readIfThere("/etc/hostname"); err != nil || hasName(text) {
		return errNamed
	}
	now := n.self.get().hostname
	if !n.isNewName(name) {
		return nil
	}
	if (kubeletargs.Files{Root: "/"}).Known() {
		return fmt.Errorf("the node is known to its cluster as %s and keeps that name; write the name into /etc/hostname to change it", now)
	}
	if err := n.keepOffered(offeredHostname, name, boottime.Now()); err != nil {
		return err
	}
	n.work.renaming = renaming{name, n.kubeletRestarts()}
	n.Log.Notice("the network calls this node %s, not %s any more; the kubelet starts again", name, now)
	n.restartKubelet()
	return nil
}

// How often the network may name the node. Each name costs a write to the disk and a
// start of the kubelet, and whoever answers DHCP can send another one with each lease.
// The pod network sends fewer: it waits with the others.
const (
	nameEvery = 10 * time.Minute
	nameBurst = 4
)

// keepOffered writes the name for the next boot, unless it comes too soon after others.
// One that cannot be written does not count among these. Who offers the name may do so
// again later, in both cases. It is work.
func (n *Node) keepOffered(file, name string, now time.Duration) error {
	before := n.work.names
	if wait := n.work.names.Wait(now); wait > 0 {
		return control.Later(fmt.Sprintf("the network has named this node %d times in a short time, and it stays %s for another %s; write a name into /etc/hostname to end this",
			n.work.names.Burst, n.self.get().hostname, wait.Round(time.Second)))
	}
	if err := wholefile.Durable(file, []byte(name+"\n"), 0o644); err != nil {
		n.work.names = before
		return control.Later(fmt.Sprintf("keep the name: %v", err))
	}
	return nil
}

// renaming is a name that the kubelet takes when it starts again, and how often that
// had happened when it was told so. Until then the node has its old name, and the same
// offer must not end the kubelet once more.
type renaming struct {
	name     string
	restarts int
}

// isNewName reports whether an offered name makes a difference. It is work.
func (n *Node) isNewName(name string) bool {
	if name == "localhost" || strings.HasPrefix(name, "localhost.") {
		return false // DHCP gives it to everybody
	}
	return name != n.self.get().hostname && n.work.renaming != (renaming{name, n.kubeletRestarts()})
}

func (n *Node) kubeletRestarts() int {
	if d := n.daemons.kubelet(); d != nil {
		return d.Restarts()
	}
	return 0
}

// hasName reports whether the text of a file is meant to name the node, be it with a
// name that is not possible.
func hasName(text string) bool {
	_, err := identity.ParseHostname(text)
	return !errors.Is(err, identity.ErrEmpty)
}

func staticHostname() string {
	text, _ := readIfThere("/etc/hostname")
	name, err := identity.ParseHostname(text)
	if err != nil && hasName(text) {
		return strings.TrimSpace(text)
	}
	return name
}

// setStaticHostname writes /etc/hostname, or removes it for "". The kubelet
// learns its name when it starts.
func (n *Node) setStaticHostname(name, cause string) error {
	if name != "" {
		if _, err := identity.ParseHostname(name); err != nil {
			return err
		}
	}
	return n.serialize(func() (refusal, failure error) { return n.changeStaticHostname(name, cause), nil })
}

// changeStaticHostname is the work of setStaticHostname.
func (n *Node) changeStaticHostname(name, cause string) error {
	if name == staticHostname() {
		return nil
	}
	if (kubeletargs.Files{Root: "/"}).Known() {
		return fmt.Errorf("the node is known to its cluster as %s, and another name would make another node of it: "+
			"drain and delete the node, remove /etc/kubernetes/kubelet.conf, then name it", n.self.get().hostname)
	}
	if err := writeHostname("/etc/hostname", name); err != nil {
		return err
	}
	n.Log.Notice("/etc/hostname names this node %q now, as %s asks; the kubelet starts again", name, cause)
	n.restartKubelet()
	return nil
}

func writeHostname(file, name string) error {
	if name != "" {
		return wholefile.Durable(file, []byte(name+"\n"), 0o644)
	}
	return wholefile.Remove(file)
}
