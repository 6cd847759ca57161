//go:build image

package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/test/lab/machine"
)

// TestServices boots a machine whose clock says 1970 and that has no name, on a
// network with real servers, and looks at what the system pods make of it.
func TestServices(t *testing.T) {
	l := newLAN(t)
	l.dhcp("lab-node")
	machine.NTP(t, l.name)
	n := prepare(t, setup{noName: true, memory: 1024})
	n.cfg.Taps = []*os.File{l.tap}
	n.cfg.Args = append(n.cfg.Args, "-rtc", "base=1970-01-02T00:00:00")
	n.cfg.HotplugPorts = 1
	n.name = "lab-node"
	n.start()
	n.expect(`the clock says 1970-01-02, which is before this system was built`)
	n.expect(`the network calls this node lab-node, not kios-[0-9a-f]+ any more`)
	n.running("probe")
	for _, name := range systemPods {
		n.running(name)
	}
	t.Run("network", func(t *testing.T) { checkNetwork(t, n) })
	t.Run("hostname", func(t *testing.T) { checkNothingRestarted(t, n) })
	t.Run("time", func(t *testing.T) { checkTime(t, n) })
	t.Run("logs", func(t *testing.T) { checkLogs(t, n) })
	t.Run("modules", func(t *testing.T) { checkHotplug(t, n) })
	n.powerOff()
	n.demandCleanDisk()
}

func checkNetwork(t *testing.T, n *node) {
	n.eventually("addresses of both families", func(ctx context.Context) error {
		v4, err := n.tryProbe(ctx, "cat", "/proc/net/fib_trie")
		if err != nil {
			return err
		}
		v6, err := n.tryProbe(ctx, "cat", "/proc/net/if_inet6")
		if err != nil {
			return err
		}
		resolver, err := n.tryProbe(ctx, "cat", "/etc/resolv.conf")
		if err != nil {
			return err
		}
		for want, in := range map[string]string{
			"10.78.0.60": v4, "10.0.2.15": v4, // both cards
			"fd000078000000000000000000001": v6, // a lease of DHCPv6
			"nameserver 10.78.0.1":          resolver, "nameserver fd00:78::1": resolver, "lab.example": resolver,
		} {
			if !strings.Contains(in, want) {
				return fmt.Errorf("no %s in:\n%s", want, in)
			}
		}
		return nil
	})
}

// checkNothingRestarted demands that the name that came late has ended no container of the
// system's that had started. One that was being started when the kubelet went is ended, and
// may be started again.
func checkNothingRestarted(t *testing.T, n *node) {
	event := regexp.MustCompile(`pod kube-system/(\S+) container (\S+) (started|exited)`)
	started := map[string]bool{} // by pod and container
	network := 0
	for _, line := range n.Lines() {
		m := event.FindStringSubmatch(line.Text)
		if m == nil {
			continue
		}
		if m[3] == "started" {
			started[m[1]+" "+m[2]] = true
			if m[2] == "network" {
				network++
			}
		} else if started[m[1]+" "+m[2]] && !slices.Contains(brief, m[2]) {
			t.Errorf("container %s of %s has ended", m[2], m[1])
		}
	}
	if network != 1 {
		t.Errorf("the container of the pod network was started %d times, want 1", network)
	}
	if c := n.running("network").Containers[0]; c.Restarts != 0 {
		t.Errorf("the pod network was restarted %d times", c.Restarts)
	}
}

func checkTime(t *testing.T, n *node) {
	n.eventually("the right time", func(ctx context.Context) error {
		text, err := n.tryProbe(ctx, "time")
		if err != nil {
			return err
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return err
		}
		if off := time.Since(time.Unix(seconds, 0)); off.Abs() > 5*time.Second {
			return fmt.Errorf("the node's clock is %v off", off)
		}
		return nil
	})
}

func checkLogs(t *testing.T, n *node) {
	for container, want := range map[string]string{
		"kernel":     "Linux version",
		"containerd": "starting containerd",
		"kubelet":    "Kubelet version",
	} {
		n.eventually("the log of "+container, func(ctx context.Context) error {
			text, err := n.api.Logs(ctx, "kube-system", "node-"+n.name, container)
			if err == nil && !strings.Contains(string(text), want) {
				err = fmt.Errorf("it does not contain %q but %.300q", want, text)
			}
			return err
		})
	}
	for _, name := range []string{"kubelet", "containerd", "kernel"} {
		text, err := n.api.Get(t.Context(), "/logs/?query="+name)
		if err != nil || len(text) < 100 {
			t.Errorf("NodeLogQuery of %s returned %.200q, %v", name, text, err)
		}
	}
}

// checkHotplug plugs in a controller that has its driver in a module.
func checkHotplug(t *testing.T, n *node) {
	if _, err := n.Execute(t.Context(), "device_add", map[string]any{"driver": "megasas-gen2", "bus": "hotplug0", "id": "raid0"}); err != nil {
		t.Fatal(err)
	}
	n.eventually("the module megaraid_sas", func(ctx context.Context) error {
		modules, err := n.tryProbe(ctx, "cat", "/proc/modules")
		if err == nil && !strings.Contains(modules, "megaraid_sas ") {
			err = fmt.Errorf("the modules are:\n%s", modules)
		}
		return err
	})
	// A module is in the list while it still looks for its devices; then the pod says it.
	n.eventually("a line about it in the pod's log", func(ctx context.Context) error {
		text, err := n.api.Logs(ctx, "kube-system", "modules-"+n.name, "modules")
		if err == nil && !strings.Contains(string(text), "megaraid_sas") {
			err = fmt.Errorf("the log is:\n%s", text)
		}
		return err
	})
	if got := strings.TrimSpace(n.probe("cat", "/sys/module/module/parameters/sig_enforce")); got != "Y" {
		t.Errorf("module signatures are not enforced: %q", got)
	}
}
