package userconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// asArguments runs Flags on a file, and returns the arguments and what was said.
func asArguments(t *testing.T, text string, list ...string) (got []string, log string) {
	t.Helper()
	etc := t.TempDir()
	write(t, filepath.Join(etc, flagsFile), text)
	var out bytes.Buffer
	got = Flags(etc, "node-1", list, &out)
	return got, strings.ReplaceAll(out.String(), etc+"/", "")
}

func TestFlagsAreArguments(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		list, want []string
		log        string // "" for none, and on one line
	}{
		{"nothing", "\n # a comment\n", nil, nil, ""},
		{"external", "--cloud-provider=external # for the controller\n", nil, []string{"--cloud-provider=external"}, ""},
		{"the other form", "  --cloud_provider   external", nil, []string{"--cloud-provider=external"}, ""},
		{"quoted", `--node-labels="a=b,c=d"`, nil, []string{"--node-labels=a=b,c=d"}, ""},
		{"alone", "--experimental-allocatable-ignore-eviction", nil, []string{"--experimental-allocatable-ignore-eviction=true"}, ""},
		{"twice", "--node-labels=a=b\n--node-labels=c=d", []string{"--node-labels=x=y"}, []string{"--node-labels=a=b", "--node-labels=c=d", "--node-labels=x=y"}, ""},
		{"the node's own name", "--hostname-override=Node-1", nil, nil, ""},
		{"the same address", "--node-ip=10.0.0.1", []string{"--node-ip=10.0.0.1"}, []string{"--node-ip=10.0.0.1"}, ""},
		{"an address", "--node-ip=10.0.0.1,fd00::1", []string{"--v=2"}, []string{"--node-ip=10.0.0.1,fd00::1", "--v=2"}, ""},

		{"another cloud", "--cloud-provider=aws", nil, nil, "line 1: ignoring --cloud-provider: \"aws\" is no cloud provider"},
		{"a bad label", "--node-labels=a=b,kubernetes.io/x=y", nil, []string{"--node-labels=a=b"}, "line 1: ignoring --node-labels: unknown 'kubernetes.io'"},
		{"another name", "\n--hostname-override=node-2", nil, nil, "line 2: ignoring --hostname-override: the node's name is that in /etc/hostname"},
		{"another address", "--node-ip=10.0.0.2", []string{"--node-ip=10.0.0.1"}, []string{"--node-ip=10.0.0.1"}, "/etc/kubernetes/node-ip says 10.0.0.1"},
		{"no address", "--node-ip=here", nil, nil, "line 1: ignoring --node-ip: "},
		{"loopback", "--node-ip=127.0.0.1", nil, nil, "is not an address by which a node can be reached"},
		{"a negative age", "--minimum-container-ttl-duration=-1s", nil, nil, "-1s is less than 0s"},
		{"a busy loop", "--housekeeping-interval=1us", nil, nil, "1µs is less than 1s"},
		{"a bad number", "--maximum-dead-containers=many", nil, nil, "line 1: ignoring --maximum-dead-containers: invalid argument"},
		{"unknown", "--network-plugin=cni", nil, nil, "line 1: ignoring --network-plugin: the kubelet has no such flag"},
		{"no value", "--max-pods", nil, nil, "line 1: ignoring --max-pods: it needs a value"},
		{"two in one line", "--v=2 --max-pods=3", nil, nil, "line 1: ignoring --v: a line has one flag"},
		{"no flag", "max-pods=3", nil, nil, "line 1: ignoring max-pods: a line is --NAME=VALUE"},
		{"the end of the kubelet", "--version", nil, nil, "line 1: ignoring --version: the kubelet would end"},
		{"another kubeconfig", "--kubeconfig=/x", nil, nil, "line 1: ignoring --kubeconfig: it is /etc/kubernetes/kubelet.conf"},
		{"a bad field", "--max-pods=many", nil, nil, "line 1: ignoring --max-pods: invalid argument"},
		{"of cadvisor", "--containerd=/x", nil, nil, "line 1: ignoring --containerd: it has no use on a node"},
		{"garbage", "\x00\xff", nil, nil, "line 1: ignoring"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, log := asArguments(t, tt.text, tt.list...)
			if !slices.Equal(got, tt.want) {
				t.Errorf("arguments %q, want %q", got, tt.want)
			}
			if !strings.Contains(log, tt.log) || (log == "") != (tt.log == "") || strings.Count(log, "\n") > 1 {
				t.Errorf("log %q, want %q", log, tt.log)
			}
		})
	}
}

// What is no file is named, and costs nothing else.
func TestNoFileOfFlags(t *testing.T) {
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, flagsFile), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if got := Flags(etc, "", []string{"--v=2"}, &log); len(got) != 1 || !strings.Contains(log.String(), "it is no regular file") {
		t.Errorf("arguments %q, log %q", got, log.String())
	}
}

// Flags that are fields are a file of the configuration, the last of the user's.
func TestFlagsAreFields(t *testing.T) {
	for _, tt := range []struct {
		name, flags string
		want        map[string]any
		log         string
	}{
		{"values", "--max-pods=30\n--provider-id=aws:///x/i-1\n--fail-swap-on=false\n--v=4\n--cluster-dns=10.0.0.10,10.0.0.11\n--sync-frequency=30s",
			map[string]any{"maxPods": 30., "providerID": "aws:///x/i-1", "failSwapOn": false, "logging": map[string]any{"verbosity": 4.},
				"clusterDNS": []any{"10.0.0.10", "10.0.0.11"}, "syncFrequency": "30s"}, ""},
		{"nothing", "--registry-qps=0\n--cluster-domain=\n--event-qps=0\n--seccomp-default=false\n--enforce-node-allocatable=",
			map[string]any{"registryPullQPS": 0., "clusterDomain": "", "eventRecordQPS": 0., "seccompDefault": false, "enforceNodeAllocatable": []any{}}, ""},
		{"maps", "--eviction-hard=memory.available<200Mi\n--feature-gates=NodeLogQuery=false\n--kube-reserved=cpu=100m,memory=300Mi",
			map[string]any{"evictionHard": map[string]any{"memory.available": "200Mi"}, "featureGates": map[string]any{"NodeLogQuery": false},
				"kubeReserved": map[string]any{"cpu": "100m", "memory": "300Mi"}}, ""},
		{"lists", "--register-with-taints=a=b:NoSchedule\n--allowed-unsafe-sysctls=net.core.somaxconn",
			map[string]any{"registerWithTaints": []any{map[string]any{"key": "a", "value": "b", "effect": "NoSchedule"}}, "allowedUnsafeSysctls": []any{"net.core.somaxconn"}}, ""},
		{"the last one", "--max-pods=30\n--max-pods=40\n--cluster-dns=10.0.0.1\n--cluster-dns=10.0.0.2",
			map[string]any{"maxPods": 40., "clusterDNS": []any{"10.0.0.1", "10.0.0.2"}}, ""},
		{"foreign", "--cgroup-driver=systemd", map[string]any{}, "ignoring cgroupDriver systemd: there is no systemd"},
		{"static pods", "--pod-manifest-path=/x", map[string]any{}, "ignoring staticPodPath /x: "},
		{"another runtime", "--container-runtime-endpoint=unix:///x.sock", map[string]any{}, "ignoring containerRuntimeEndpoint unix:///x.sock"},
		{"a file that is not there", "--resolv-conf=/no/such/file", map[string]any{}, "ignoring resolvConf /no/such/file: there is no such file"},
		{"a gate that is not there", "--feature-gates=Nothing=true", map[string]any{"featureGates": map[string]any{}}, "ignoring featureGates.Nothing: "},
		{"what the kubelet refuses", "--image-gc-high-threshold=200", map[string]any{}, "ignoring imageGCHighThresholdPercent: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newNode(t, map[string]string{flagsFile: tt.flags})
			log, dropins := d.check(t)
			if !slices.Contains(dropins, "50-000-"+flagsFile+".conf") {
				t.Fatalf("drop-ins %q, log %q", dropins, log)
			}
			text, err := os.ReadFile(filepath.Join(d.dropins, "50-000-"+flagsFile+".conf"))
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "apiVersion")
			delete(got, "kind")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if !strings.Contains(log, tt.log) || (log == "") != (tt.log == "") {
				t.Errorf("log %q, want %q", log, tt.log)
			}
		})
	}
}

// A flag takes precedence over files, as on the kubelet's command line.
func TestFlagsWinOverFiles(t *testing.T) {
	d := newNode(t, map[string]string{"config.yaml": head + "maxPods: 20\n", "config.d/99-mine.yaml": head + "maxPods: 25\n", flagsFile: "--max-pods=30\n"})
	kc := Check(d.etc, []string{"--config", d.config, "--config-dir=" + d.dropins}, testSystem, os.Stderr)
	if kc == nil || kc.MaxPods != 30 {
		t.Errorf("configuration %v, want 30 pods", kc)
	}
}

// A file without fields costs no look at the configuration.
func TestFlagsWithoutFields(t *testing.T) {
	d := newNode(t, map[string]string{flagsFile: "--cloud-provider=external\n--bad\n"})
	if log, dropins := d.check(t); log != "" || len(dropins) != 1 {
		t.Errorf("drop-ins %q, log %q", dropins, log)
	}
}

// Every flag of this kubelet is a field, or one that users may set, or one that they may
// not, with a reason. A field can be found whatever its value is.
func TestEveryFlagIsKnown(t *testing.T) {
	allFlags().VisitAll(func(f *pflag.Flag) {
		kinds := 0
		for _, is := range []bool{isField(f.Name), otherFlags[f.Name] != nil, ownFlags[f.Name] != "", strings.Contains(f.Deprecated, "cadvisor")} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("--%s is of %d kinds: say in flags.go whether users may set it", f.Name, kinds)
		}
		if isField(f.Name) {
			checkField(t, f)
		}
	})
}

// values are some of each type of flag, those that are nothing among them.
var values = map[string][]string{
	"bool": {"true", "false"}, "int32": {"0", "1", "2"}, "int64": {"0", "1", "2"}, "string": {"", "x", "y"}, "duration": {"0s", "1ns", "1s"},
	"stringSlice": {"", "x", "y"}, "ip": {"10.0.0.1"}, "mapStringString": {"x=y", "memory.available<1"}, "mapStringBool": {"x=true"},
	"colonSeparatedMultimapStringString": {"x:y"}, "reserved-memory": {"0:memory=1Gi"}, "[]v1.Taint": {"", "x=y:NoSchedule"},
	"Level": {"0", "1", "2"}, "pattern=N,...": {"x=1"}, "quantity": {"0", "1", "2k"},
}

func checkField(t *testing.T, f *pflag.Flag) {
	t.Helper()
	tried := 0
	for _, value := range values[f.Value.Type()] {
		flags := []userFlag{{name: f.Name, value: value}}
		if flags[0].check() != nil {
			continue
		}
		tried++
		fields, err := flagFields(flags)
		if err != nil || len(fields) != 1 {
			t.Errorf("--%s=%s sets the fields %v, %v", f.Name, value, fields, err)
		}
	}
	if tried == 0 {
		t.Errorf("--%s is of type %s, and none of %q is good for it", f.Name, f.Value.Type(), values[f.Value.Type()])
	}
}

func FuzzFlags(f *testing.F) {
	for _, seed := range []string{"--max-pods=3\n--address=\n--address=::", "--node-labels=\"a=b\"", "--reserved-memory=0:memory=1e999", "-v 2 # x", "--feature-gates=A", strings.Repeat("--x\n", 1000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		etc := t.TempDir()
		write(t, filepath.Join(etc, flagsFile), text)
		var log bytes.Buffer
		Flags(etc, "", nil, &log)
		if lines := strings.Count(log.String(), "\n"); lines > maxNotes+1 || log.Len() > (maxNotes+1)*(maxLine+1000) {
			t.Errorf("%d lines, %d bytes", lines, log.Len())
		}
		if d, err := flagDocument(filepath.Join(etc, flagsFile)); err == nil {
			if _, err := d.data(); err != nil {
				t.Error(fmt.Errorf("fields that are not JSON: %w", err))
			}
		}
	})
}
