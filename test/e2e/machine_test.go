//go:build image

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/machine"
	"kios/test/lab/netns"
)

// cardWatchdog is a watchdog on a card, the machine's only one: where the chipset has one,
// it is taken away, as boards do that have none.
func cardWatchdog(t *testing.T) []string {
	t.Helper()
	args := []string{"-device", "i6300esb"}
	if lab.Arch(t).QEMU.Watchdog == "" {
		args = append(args, "-global", "ICH9-LPC.noreboot=on")
	}
	return args
}

const cardIdentity = "i6300ESB timer"

// watchdogTimeout is more than an emulated machine stands still because its host is busy.
const watchdogTimeout = time.Minute

// watched boots a machine with a watchdog, and whose watchdog it is.
func watched(t *testing.T, identity string, s setup, args ...string) *node {
	t.Helper()
	s.few = true
	s.append += fmt.Sprintf(" kios.watchdog=%d", int(watchdogTimeout.Seconds()))
	n := prepare(t, s)
	n.cfg.NoReboot = true
	n.cfg.Args = append([]string{"-action", "watchdog=reset"}, args...)
	n.start()
	n.expect(`kubelet ready`)
	n.running("probe")
	if got := strings.TrimSpace(n.probe("cat", "/sys/class/watchdog/watchdog0/identity")); got != identity {
		t.Errorf("the watchdog is %q, want %q", got, identity)
	}
	want := fmt.Sprintf("kios: /dev/watchdog0 resets the machine if it hangs for %v", watchdogTimeout)
	if got := n.probe("cat", "/var/log/kernel.log"); !strings.Contains(got, want) {
		t.Errorf("kernel.log does not have %q:\n%s", want, got)
	}
	n.Mark()
	return n
}

// A PID 1 that stands still is reset by the chipset's watchdog, or that on a card where the
// chipset has none.
func TestHardwareWatchdogOfInit(t *testing.T) {
	lab.Long(t)
	identity, args := "iTCO_wdt", []string(nil)
	if card := lab.Arch(t).QEMU.Watchdog; card != "" {
		identity, args = cardIdentity, []string{"-device", card}
	}
	n := watched(t, identity, setup{}, args...)
	n.probe("set", "/sys/fs/cgroup/init/cgroup.freeze", "1")
	n.ends(qemu.Rebooted)
	if n.consoleHas(`Kernel panic|stopping, as|cannot go on`) {
		t.Error("the machine was not reset by its watchdog")
	}
}

// A kernel that panics and does not restart is reset by a watchdog on a card.
func TestHardwareWatchdogOfKernel(t *testing.T) {
	lab.Long(t)
	n := watched(t, cardIdentity, setup{}, cardWatchdog(t)...)
	n.probe("set", "/proc/sys/kernel/panic", "0")
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(2*time.Second))
	defer cancel()
	_, _ = n.tryProbe(ctx, "crash", "1") // nobody is left to answer
	n.expect(`end Kernel panic - not syncing: Attempted to kill init!`)
	n.ends(qemu.Rebooted)
	if n.consoleHas(`Rebooting in`) {
		t.Error("the kernel has restarted by itself")
	}
}

// A machine that is to stay halted does: PID 1 has stopped the watchdog. The kernel would
// do that, too, but with some drivers: here it must not.
func TestHardwareWatchdogAndHalt(t *testing.T) {
	lab.Long(t)
	n := watched(t, cardIdentity, setup{
		append: "watchdog.stop_on_reboot=0",
		images: []string{machine.Image(t, "busclient", "busclient")},
		pods:   map[string]string{"agent": busPod("agent", 0, "", "sleep")},
	}, cardWatchdog(t)...)
	n.running("agent")
	n.talk("plan", "halt", "3s")
	n.expect(`reboot: System halted`)
	select {
	case <-time.After(2 * watchdogTimeout): // nothing must happen in it
		n.Kill()
	case <-n.Done():
		t.Error("the watchdog has reset a machine that was to stay halted")
	}
	n.demandCleanDisk()
}

// controllers are those that disks hang at, and what the node does with a data partition
// there. The kernel command line decides: the machine does not know its boot disk.
var controllers = []struct{ bus, words, want string }{
	{"megasas", "datapart=auto kios.disk=auto", `data partition /dev/sda2$`}, // its driver is a module
	{"megasas", "datapart=auto", `sda2 .*has the type of a data partition and is not used`},
	{"scsi", "datapart=auto kios.disk=auto", `data partition /dev/sda2$`},
	{"nvme", "datapart=auto kios.disk=/dev/nvme0n1", `data partition /dev/nvme0n1p2$`},
	{"usb", "datapart=auto kios.disk=auto", `sda2 .*has the type of a data partition and is not used`},
	{"usb", "", `data partition /dev/sda2$`}, // named by its GUID
}

func TestHardwareControllers(t *testing.T) {
	lab.Long(t)
	n := prepare(t, setup{few: true})
	words := n.cfg.Append
	for _, tt := range controllers {
		n.cfg.Disks = []qemu.Disk{{Path: n.disk, Bus: tt.bus, Snapshot: true}}
		n.cfg.Append = words + " " + tt.words
		t.Run(tt.bus+" "+tt.words, func(t *testing.T) {
			one := *n
			one.t, one.cfg.Dir = t, t.TempDir()
			one.start()
			one.expect(tt.want)
			one.expect(`step etc `) // after the search
			if strings.Contains(tt.want, "not used") && one.consoleHas(`kios: data partition`) {
				t.Error("a disk was used that does not count")
			}
			one.Kill()
		})
	}
}

// twoCards is a network that both cards of a machine are on, and a subnet behind a router.
// It returns the taps of the cards.
func twoCards(t *testing.T) (l *lan, taps []*os.File) {
	t.Helper()
	l = &lan{t: t, name: fmt.Sprintf("kios-e2e-%d-cards", os.Getpid())}
	netns.Add(t, l.name)
	netns.IP(t, l.name, "link", "add", "lan", "type", "bridge")
	for _, tap := range []string{"tap0", "tap1"} {
		netns.IP(t, l.name, "tuntap", "add", tap, "mode", "tap")
		netns.IP(t, l.name, "link", "set", tap, "master", "lan", "up")
		taps = append(taps, netns.OpenTap(t, l.name, tap))
	}
	netns.IP(t, l.name, "addr", "add", "10.78.0.1/24", "dev", "lan")
	netns.IP(t, l.name, "addr", "add", "10.79.0.1/24", "dev", "lo")
	netns.IP(t, l.name, "link", "set", "lan", "up")
	return l, taps
}

// received returns how many packets the network has got from the card of a tap.
func (l *lan) received(tap string) int {
	l.t.Helper()
	text := netns.IP(l.t, l.name, "-s", "-o", "link", "show", tap)
	m := regexp.MustCompile(`RX: [^\\]*\\\s+\d+\s+(\d+)`).FindStringSubmatch(text)
	if m == nil {
		l.t.Fatalf("ip -s link says %q", text)
	}
	count, err := strconv.Atoi(m[1])
	if err != nil {
		l.t.Fatal(err)
	}
	return count
}

// Two cards in one subnet both answer, each for its own address: to neighbours, and through
// the router.
func TestHardwareTwoCards(t *testing.T) {
	lab.Long(t)
	l, taps := twoCards(t)
	n := prepare(t, setup{few: true})
	n.cfg.Taps = taps
	l.serve("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--user=root",
		"--port=0", "--pid-file=", "--no-ping", "--interface=lan", "--bind-interfaces", "--dhcp-leasefile="+t.TempDir()+"/leases",
		"--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,10m",
		"--dhcp-host=52:54:00:4b:05:01,10.78.0.60", "--dhcp-host=52:54:00:4b:05:02,10.78.0.61")
	n.start()
	n.running("probe")
	for _, from := range []string{"10.78.0.1", "10.79.0.1"} {
		for i, address := range []string{"10.78.0.60", "10.78.0.61"} {
			netns.IP(t, l.name, "route", "replace", address+"/32", "dev", "lan", "src", from)
			l.demandCard(n, net.JoinHostPort(address, strconv.Itoa(kubeletapi.Port)), fmt.Sprintf("tap%d", i), fmt.Sprintf("tap%d", 1-i))
		}
	}
	n.powerOff()
}

// connections is more than anything else that a card sends within that time.
const connections = 50

// demandCard connects often, and demands that the answers come from one card.
func (l *lan) demandCard(n *node, address, own, other string) {
	l.t.Helper()
	dial := func(ctx context.Context) error {
		conn, err := netns.Dial(ctx, l.name, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	}
	n.eventually("an answer of "+address, dial)
	before, others := l.received(own), l.received(other)
	for range connections {
		n.must(dial(l.t.Context()))
	}
	if got, wrong := l.received(own)-before, l.received(other)-others; got < connections || wrong >= connections {
		l.t.Errorf("of %d answers of %s, its card sent %d and the other one %d", connections, address, got, wrong)
	}
}

// demandQuiet demands that PID 1 and the pods have found nothing to complain about, but
// for lines with these parts.
func (n *node) demandQuiet(but ...string) {
	n.t.Helper()
	said := func(part string) bool {
		return slices.ContainsFunc(but, func(b string) bool { return strings.Contains(part, b) })
	}
	for _, line := range n.Lines() {
		if (strings.Contains(line.Text, "kios: warning: ") || strings.Contains(line.Text, "kios: error: ")) && !said(line.Text) {
			n.t.Errorf("the node says %q", line.Text)
		}
	}
}

// Machines with one, and with many processors, and with little memory come up without a
// warning.
func TestHardwareProcessors(t *testing.T) {
	lab.Long(t)
	for _, tt := range []struct {
		processors int
		memory     int64
	}{{1, 512}, {8, 1024}} {
		t.Run(fmt.Sprint(tt.processors), func(t *testing.T) {
			n := prepare(t, setup{memory: tt.memory})
			n.cfg.CPUs = tt.processors
			n.start()
			n.running("probe")
			for _, name := range systemPods {
				n.running(name)
			}
			n.demandQuiet()
			n.powerOff()
		})
	}
}
