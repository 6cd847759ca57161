package main

import (
	"bytes"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/host/cluster"
	"kios/host/console"
	"kios/host/terminal"
)

func upDefaults() upOptions {
	return upOptions{name: "a", workers: 2, memory: "1G", controlPlaneMemory: "1536M", kubernetes: "v1.37.2", firmware: "direct", given: func(string) bool { return false }}
}

func TestUpOptions(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for _, tt := range []struct {
		name   string
		change func(*upOptions)
		want   string // part of the error; "" for none
	}{
		{"defaults", func(*upOptions) {}, ""},
		{"name", func(o *upOptions) { o.name = "a/b" }, "not a valid name"},
		{"workers", func(o *upOptions) { o.workers = -1 }, "-1 workers"},
		{"no workers", func(o *upOptions) { o.workers = 0 }, ""},
		{"memory is no size", func(o *upOptions) { o.memory = "abc" }, "--memory"},
		{"memory", func(o *upOptions) { o.memory = "64M" }, "--memory 64M is too small"},
		{"control plane", func(o *upOptions) { o.controlPlaneMemory = "512M" }, "--control-plane-memory"},
		{"processors", func(o *upOptions) { o.cpus, o.given = 0, func(flag string) bool { return flag == "cpus" } }, "--cpus 0"},
		{"firmware", func(o *upOptions) { o.firmware = "bios" }, "direct or uefi"},
		{"port", func(o *upOptions) { o.port = 70000 }, "--port 70000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := upDefaults()
			tt.change(&o)
			_, err := o.cluster(nil)
			if tt.want == "" && err != nil {
				t.Errorf("cluster() = %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("cluster() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestStatusText(t *testing.T) {
	c := &cluster.Cluster{Name: "a", Dir: "/state/a", State: cluster.State{Kubernetes: "v1.37.2", Port: 16443}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	node := func(name, address string) cluster.Node {
		return cluster.Node{Name: name, Address: netip.MustParseAddr(address)}
	}
	s := cluster.Status{
		Nodes: []cluster.NodeStatus{
			{Node: node("control-plane", "10.77.0.10"), Running: true, Since: now.Add(-90 * time.Second), State: "Ready", Kubelet: "v1.35.4"},
			{Node: node("worker-1", "10.77.0.11"), State: "Unknown", Kubelet: "v1.35.4"},
		},
		Missing: []string{"node worker-1: has not reported"},
	}
	const want = `cluster a, Kubernetes v1.37.2, in /state/a
API server https://127.0.0.1:16443: ready

NODE            ADDRESS      MACHINE   UPTIME   STATE     KUBELET
control-plane   10.77.0.10   on        1m30s    Ready     v1.35.4
worker-1        10.77.0.11   off       -        Unknown   v1.35.4

not ready:
  node worker-1: has not reported
`
	if diff := cmp.Diff(want, statusText(c, s, now)); diff != "" {
		t.Errorf("statusText (-want +got):\n%s", diff)
	}
	s.Nodes[0].Arch, s.Nodes[1].Arch = "amd64", "arm64"
	if got, want := statusText(c, s, now), "worker-1        arm64   10.77.0.11   off  "; !strings.Contains(got, want) {
		t.Errorf("statusText does not show architectures:\n%s", got)
	}
	s.API = errors.New("connection refused")
	if got := statusText(c, s, now); !strings.Contains(got, "16443: connection refused\n") {
		t.Errorf("statusText does not say that the API server is away:\n%s", got)
	}
	s.Nodes[0].Running = false
	if got := statusText(c, s, now); !strings.Contains(got, "stopped; start it with kios cluster up\n") {
		t.Errorf("statusText does not say that the cluster is stopped:\n%s", got)
	}
}

func TestClusterView(t *testing.T) {
	var b bytes.Buffer
	v := &clusterView{screen: terminal.New(&b), begin: time.Now(), rows: []viewRow{{node: "worker-1", address: "10.77.0.11"}}}
	v.State("worker-1", "boots")
	v.Console("worker-1", console.Parse("[    1.0] kios: step mount 1 ms"))
	v.Console("worker-1", console.Parse("[    2.0] kios: kubelet ready"))
	v.Note("the API server is ready")
	const want = "    0.00s  worker-1       boots\n" +
		"    0.00s  worker-1       kubelet ready\n" +
		"    0.00s                 the API server is ready\n"
	plain := regexp.MustCompile(`\d\.\d\ds`).ReplaceAllString(b.String(), "0.00s") // on a busy machine it is more
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Errorf("without a terminal (-want +got):\n%s", diff)
	}

	b.Reset()
	v.screen = terminal.NewTerminal(&b, func() int { return 50 })
	v.State("worker-1", "boots")
	v.Console("worker-1", console.Parse("[    2.0] kios: kubelet ready"))
	v.end()
	got := b.String()
	for _, part := range []string{"\x1b[2m           worker-1       10.77.0.11  boots", "\x1b[1A\r\x1b[J", "kubelet ready\x1b[0m\n"} {
		if !strings.Contains(got, part) {
			t.Errorf("on a terminal %q, want %q in it", got, part)
		}
	}
	if !strings.HasSuffix(got, "\x1b[1A\r\x1b[J") {
		t.Errorf("on a terminal the rows stay: %q", got)
	}
}
