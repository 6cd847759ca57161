package userconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubeletscheme "k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"

	"kios/upstream/kubelet/defaults"
)

const (
	head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	node = head + "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n" +
		"authentication: {webhook: {enabled: false}}\nauthorization: {mode: AlwaysAllow}\n"
)

// testSystem is this computer with a machine of a size that is the same everywhere.
var testSystem = System{Machine: func() (Machine, bool) { return testMachine(1<<30, 2), true }}

func testMachine(memory uint64, cpus int) Machine {
	return Machine{
		Info: described(memory, cpus), Disk: 10 << 30, Size: defaults.Machine{Memory: memory, CPUs: cpus, Threads: 8192},
		Sysctl: func(string) (int, bool) { return 0, false },
	}
}

// dirs is a node: its defaults, the user's files, the drop-ins of the kubelet.
type dirs struct{ config, etc, dropins string }

func newNode(t *testing.T, files map[string]string) dirs {
	t.Helper()
	root := t.TempDir()
	d := dirs{filepath.Join(root, "kubelet.yaml"), filepath.Join(root, "etc"), filepath.Join(root, "kubelet.d")}
	write(t, d.config, node)
	write(t, filepath.Join(d.dropins, "10-node.conf"), `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","maxPods":50}`)
	for name, content := range files {
		write(t, filepath.Join(d.etc, name), content)
	}
	return d
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// check runs Check and returns what it logged and the drop-ins that it left.
func (d dirs) check(t *testing.T) (log string, dropins []string) {
	t.Helper()
	var out bytes.Buffer
	Check(d.etc, []string{"--config", d.config, "--config-dir=" + d.dropins}, testSystem, &out)
	entries, err := os.ReadDir(d.dropins)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		dropins = append(dropins, e.Name())
	}
	return out.String(), dropins
}

func TestBadFileIsNamedAndLeftOut(t *testing.T) {
	tests := []struct {
		name, content string
		want          string // in the log
	}{
		{"bad syntax", head + "maxPods: [\n", "line"},
		{"garbage", "\x00\x01\x02", "control characters are not allowed"},
		{"list", "- a\n- b\n", "not a YAML mapping"},
		{"empty", "\n \n", "the file is empty"},
		{"no kind", "maxPods: 3\n", `apiVersion "", kind "": want apiVersion: kubelet.config.k8s.io/v1beta1`},
		{"other kind", "apiVersion: v1\nkind: Pod\n", `apiVersion "v1", kind "Pod"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newNode(t, map[string]string{"config.yaml": tt.content})
			log, dropins := d.check(t)
			if diff := cmp.Diff([]string{"10-node.conf"}, dropins); diff != "" {
				t.Errorf("drop-ins (-want +got):\n%s", diff)
			}
			start := "kios: ignoring " + d.etc + "/config.yaml: "
			if !strings.HasPrefix(log, start) || !strings.HasSuffix(log, ": using defaults\n") || strings.Count(log, "\n") != 1 || !strings.Contains(log, tt.want) {
				t.Errorf("log = %q, want one line %q ... %q ... using defaults", log, start, tt.want)
			}
		})
	}
}

// A value that the kubelet would refuse costs its own field.
func TestBadFieldIsNamedAndLeftOut(t *testing.T) {
	tests := []struct {
		name, content string
		want          string // in the log
	}{
		{"wrong type", head + "maxPods: many\n", "KubeletConfiguration.maxPods of type int32"},
		{"bad duration", head + "syncFrequency: soon\n", `"soon"`},
		{"gate that is no gate", head + "featureGates: {NodeLogQuery: 'yes'}\n", "featureGates.NodeLogQuery: it is yes"},
		{"gates that are none", head + "featureGates: [NodeLogQuery]\n", "ignoring featureGates: "},
		{"wrong type inside", head + "logging: {verbosity: loud}\n", "ignoring logging.verbosity: "},
		{"port out of range", head + "port: 99999\n", "port (--port) 99999 must be between 1 and 65535"},
		{"bad log format", head + "logging: {format: xml}\n", "logging.format"},
		{"taint without a known effect", head + "registerWithTaints: [{key: a, effect: NoWay}]\n", `registerWithTaints[0].effect: Unsupported value: "NoWay"`},
		{"taint with a bad key", head + "registerWithTaints: [{key: a b, effect: NoSchedule}]\n", "registerWithTaints[0]"},
		{"bad quantity", head + "kubeReserved: {cpu: lots}\n", `kubeReserved: cpu "lots"`},
		{"nothing to reserve", head + "systemReserved: {gpu: '1'}\n", `"gpu" cannot be reserved`},
		{"bad threshold", head + "evictionHard: {memory.available: some}\n", "eviction: "},
		{"size of logs that is none", head + "containerLogMaxSize: 10MB\n", `containerLogMaxSize: "10MB"`},
		{"negative duration", head + "syncFrequency: -1s\n", "syncFrequency -1s is negative"},
		{"unknown word", head + "authorization: {mode: RBAC}\n", `authorization.mode "RBAC"`},
		{"cipher suite that is none", head + "tlsCipherSuites: [TLS_NONE]\n", "tlsCipherSuites: "},
		{"address that is none", head + "address: here\n", `address: "here"`},
		{"policy that is none", head + "cpuManagerPolicy: dynamic\n", `cpuManagerPolicy "dynamic"`},
		{"more pods than user IDs", head + "maxPods: 70000\n", "there are user IDs for 65535 pods"},
		{"more IDs than there are", head + "userNamespaces: {idsPerPod: 2147483648}\n", "there are user IDs for 1 pods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": tt.content + "eventBurst: 77\n"})
			if kc.EventBurst != 77 {
				t.Errorf("the rest of the file does not count: %s", log)
			}
			if strings.Count(log, "\n") != 1 || !strings.Contains(log, "/config.yaml: ignoring ") || !strings.Contains(log, tt.want) {
				t.Errorf("log = %q, want one line with %q", log, tt.want)
			}
		})
	}
}

// A field costs no more of itself than the kubelet would refuse.
func TestBadPartCostsItself(t *testing.T) {
	tests := []struct {
		name, content string
		want          func(*config.KubeletConfiguration) bool
		says          string
	}{
		{"a key of a map", "evictionHard: {memory.available: 99Mi, disk.available: 5%}", func(kc *config.KubeletConfiguration) bool {
			return kc.EvictionHard["memory.available"] == "99Mi"
		}, "ignoring evictionHard.disk.available: eviction: unsupported eviction signal"},
		{"a key of another type", "systemReserved: {cpu: 1, memory: 99Mi}", func(kc *config.KubeletConfiguration) bool {
			return kc.SystemReserved["memory"] == "99Mi" && kc.SystemReserved["cpu"] == ""
		}, "ignoring systemReserved.cpu: json: cannot unmarshal number"},
		{"a field of a field", "tracing: {endpoint: 'http://[::1', samplingRatePerMillion: 100}", func(kc *config.KubeletConfiguration) bool {
			return kc.Tracing != nil && kc.Tracing.Endpoint == nil && *kc.Tracing.SamplingRatePerMillion == 100
		}, "ignoring tracing.endpoint: "},
		{"a field of a field of another type", "authentication: {anonymous: {enabled: 'true'}, webhook: {cacheTTL: 7s}}", func(kc *config.KubeletConfiguration) bool {
			return !kc.Authentication.Anonymous.Enabled && kc.Authentication.Webhook.CacheTTL.Seconds() == 7
		}, "ignoring authentication.anonymous.enabled: "},
		{"a field and not the gate", "featureGates: {KubeletEnsureSecretPulledImages: false, CustomCPUCFSQuotaPeriod: true}\nimagePullCredentialsVerificationPolicy: AlwaysVerify", func(kc *config.KubeletConfiguration) bool {
			return kc.FeatureGates["CustomCPUCFSQuotaPeriod"] && !kc.FeatureGates["KubeletEnsureSecretPulledImages"]
		}, "ignoring imagePullCredentialsVerificationPolicy: "},
		{"a gate at which the kubelet panics", "featureGates: {UserNamespacesSupport: false, CustomCPUCFSQuotaPeriod: true}", func(kc *config.KubeletConfiguration) bool {
			return kc.FeatureGates["CustomCPUCFSQuotaPeriod"]
		}, "ignoring featureGates.UserNamespacesSupport: the kubelet cannot take it: "},
		{"two fields of which each is too much", "maxPods: 70000\nuserNamespaces: {idsPerPod: 67108864}\nsyncFrequency: 7s", func(kc *config.KubeletConfiguration) bool {
			return kc.SyncFrequency.Seconds() == 7 && kc.MaxPods < 70000
		}, "there are user IDs for "},
		{"an option and not its manager", "cpuManagerPolicyOptions: {full-pcpus-only: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return len(kc.CPUManagerPolicyOptions) == 0
		}, "ignoring cpuManagerPolicyOptions: "},
		{"something that is said once", "logging: {flushFrequency: -5s}", func(kc *config.KubeletConfiguration) bool { return true },
			"ignoring logging.flushFrequency: logging.flushFrequency: Invalid value: \"-5s\": Must be greater than zero\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "\neventBurst: 77\n"})
			if kc.EventBurst != 77 || !tt.want(kc) {
				t.Errorf("the rest does not count: %s", log)
			}
			if !strings.Contains(log, tt.says) {
				t.Errorf("log = %q, want %q", log, tt.says)
			}
		})
	}
}

// What is no file, or has a strange name, has its line and costs itself.
func TestStrangeFiles(t *testing.T) {
	long := strings.Repeat("n", 250) + ".yaml"
	d := newNode(t, map[string]string{
		"config.d/10-a\nb.yaml":   head + "maxPods: many\n",
		"config.d/20-" + long[3:]: head + "maxPods: 20\n",
	})
	for link, target := range map[string]string{"config.yaml": "/nowhere", "config.d/30-loop.yaml": "30-loop.yaml"} {
		if err := os.Symlink(target, filepath.Join(d.etc, link)); err != nil {
			t.Fatal(err)
		}
	}
	log, dropins := d.check(t)
	if len(dropins) != 3 || !strings.HasPrefix(dropins[2], "50-002-20-nnn") {
		t.Errorf("drop-ins %q", dropins)
	}
	for _, want := range []string{"ignoring " + d.etc + "/config.yaml: ", "/10-a?b.yaml: ignoring maxPods: ", "ignoring " + d.etc + "/config.d/30-loop.yaml: "} {
		if strings.Count(log, want) != 1 || strings.Count(log, "\n") != 3 {
			t.Errorf("log = %q, want a line with %q", log, want)
		}
	}
}

// Each file takes time: there is an end to it.
func TestTooManyFiles(t *testing.T) {
	files := map[string]string{}
	for i := range maxFiles + 5 {
		files[fmt.Sprintf("config.d/%03d.yaml", i)] = head + fmt.Sprintf("maxPods: %d\n", 100+i)
	}
	kc, log := effective(t, testSystem, false, files)
	if want := fmt.Sprintf("config.d/%03d.yaml and what comes after it", maxFiles); int(kc.MaxPods) != 100+maxFiles-1 || !strings.Contains(log, want) || strings.Count(log, "\n") != 1 {
		t.Errorf("maxPods %d, log %q, want %q", kc.MaxPods, log, want)
	}
}

// A directory that is none has a line.
func TestDirectoryThatIsNone(t *testing.T) {
	d := newNode(t, map[string]string{"config.d": "a file\n"})
	if log, dropins := d.check(t); len(dropins) != 1 || log != "kios: ignoring open "+d.etc+"/config.d: not a directory\n" {
		t.Errorf("log %q, drop-ins %q", log, dropins)
	}
}

// Two bad fields, and what is in a list of good and bad.
func TestBadFieldsCostThemselves(t *testing.T) {
	kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head +
		"containerLogMaxSize: 10MB\nport: 99999\nallowedUnsafeSysctls: [net.*, vm.max_map_count]\nmaxPods: 30\n"})
	if kc.MaxPods != 30 || kc.ContainerLogMaxSize != "10Mi" || kc.Port != 10250 || len(kc.AllowedUnsafeSysctls) != 1 {
		t.Errorf("maxPods %d, containerLogMaxSize %s, port %d, sysctls %v", kc.MaxPods, kc.ContainerLogMaxSize, kc.Port, kc.AllowedUnsafeSysctls)
	}
	for _, want := range []string{"ignoring containerLogMaxSize: ", "ignoring port: ", "ignoring allowedUnsafeSysctls vm.max_map_count: "} {
		if strings.Count(log, want) != 1 || strings.Count(log, "\n") != 3 {
			t.Errorf("log = %q, want %q", log, want)
		}
	}
}

func TestGoodFilesBecomeDropins(t *testing.T) {
	d := newNode(t, map[string]string{
		"config.yaml":          head + "maxPods: 20\n",
		"config.d/20-b.conf":   `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","port":10255}`,
		"config.d/10-bad.yaml": "maxPods: 3\n",
		"config.d/README.md":   "not a configuration",
	})
	log, dropins := d.check(t)
	want := []string{"10-node.conf", "50-000-config.yaml.conf", "50-002-20-b.conf.conf"}
	if diff := cmp.Diff(want, dropins); diff != "" {
		t.Errorf("drop-ins (-want +got):\n%s", diff)
	}
	if !strings.Contains(log, "config.d/10-bad.yaml") || strings.Count(log, "\n") != 1 {
		t.Errorf("log = %q, want one line about 10-bad.yaml", log)
	}
}

// A file that is fine on its own can be wrong on top of another.
func TestValidatesTheMergedConfiguration(t *testing.T) {
	d := newNode(t, map[string]string{
		"config.d/1.yaml": head + "imageGCLowThresholdPercent: 70\n",
		"config.d/2.yaml": head + "imageGCHighThresholdPercent: 60\n",
	})
	log, dropins := d.check(t)
	if diff := cmp.Diff([]string{"10-node.conf", "50-000-1.yaml.conf", "50-001-2.yaml.conf"}, dropins); diff != "" {
		t.Errorf("drop-ins (-want +got):\n%s", diff)
	}
	if !strings.Contains(log, "2.yaml: ignoring imageGCHighThresholdPercent: invalid configuration: imageGCLowThresholdPercent") {
		t.Errorf("log = %q, want imageGCLowThresholdPercent", log)
	}
}

func TestForeignEndpointIsDropped(t *testing.T) {
	d := newNode(t, map[string]string{
		"config.yaml": head + "containerRuntimeEndpoint: unix:///var/run/crio/crio.sock\nmaxPods: 7\n",
	})
	log, _ := d.check(t)
	if !strings.Contains(log, "ignoring containerRuntimeEndpoint unix:///var/run/crio/crio.sock") {
		t.Errorf("log = %q, want a line about the endpoint", log)
	}
	got, err := os.ReadFile(filepath.Join(d.dropins, "50-000-config.yaml.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "crio") || !strings.Contains(string(got), `"maxPods":7`) {
		t.Errorf("drop-in = %s, want maxPods and no endpoint", got)
	}
}

func TestStaleDropinsAreRemoved(t *testing.T) {
	d := newNode(t, map[string]string{"config.yaml": head + "maxPods: 20\n"})
	d.check(t)
	if err := os.Remove(filepath.Join(d.etc, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	log, dropins := d.check(t)
	if diff := cmp.Diff([]string{"10-node.conf"}, dropins); diff != "" || log != "" {
		t.Errorf("log %q, drop-ins (-want +got):\n%s", log, diff)
	}
}

// What a user sets for a cluster must not keep a node from starting that has
// none yet, nor hide the certificate that the cluster signs.
func TestLastWord(t *testing.T) {
	const webhook = head + "authentication: {webhook: {enabled: true}}\nauthorization: {mode: Webhook}\n"
	tests := []struct {
		name, content string
		joined        bool
		want          string // in 90-node.conf, "" for no such file
		log           string // what is said, "" for nothing
	}{
		{"nothing of it", head + "maxPods: 30\n", false, "", ""},
		{"webhook, standalone", webhook, false, `{"authentication":{"webhook":{"enabled":false}},"authorization":{"mode":"AlwaysAllow"},"enableServer":false}`, ""},
		{"webhook, joined", webhook, true, "", ""},
		{"no webhook, standalone", head + "authorization: {mode: AlwaysAllow}\n", false, "", ""},
		{"no webhook, joined", head + "authorization: {mode: AlwaysAllow}\n", true, `{"authorization":{"mode":"Webhook"}}`, "authorization.mode is Webhook and not AlwaysAllow"},
		{"signed certificate, standalone", head + "serverTLSBootstrap: true\n", false, `{"serverTLSBootstrap":false}`, ""},
		{"signed certificate, joined", webhook + "serverTLSBootstrap: true\n", true, `{"tlsCertFile":"","tlsPrivateKeyFile":""}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newNode(t, map[string]string{"config.yaml": tt.content})
			args := []string{"--config", d.config, "--config-dir=" + d.dropins}
			if tt.joined {
				args = append(args, "--kubeconfig", "/some/file")
			}
			var log bytes.Buffer
			Check(d.etc, args, testSystem, &log)
			text, err := os.ReadFile(filepath.Join(d.dropins, last))
			if tt.want == "" {
				if err == nil {
					t.Errorf("%s = %s, want none", last, text)
				}
				return
			}
			if err != nil {
				t.Fatal(err, log.String())
			}
			var got, want map[string]any
			if err := errors.Join(json.Unmarshal(text, &got), json.Unmarshal([]byte(tt.want), &want)); err != nil {
				t.Fatal(err)
			}
			want["apiVersion"], want["kind"] = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
			if diff := cmp.Diff(want, got); diff != "" || (log.Len() > 0) != (tt.log != "") || !strings.Contains(log.String(), tt.log) {
				t.Errorf("%s (-want +got):\n%s\nlog %q", last, diff, log.String())
			}
		})
	}
}

// writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Without the last word what the files say may let others in: then none of them counts.
func TestLastWordCannotBeWritten(t *testing.T) {
	d := newNode(t, map[string]string{
		"config.yaml":          head + "serverTLSBootstrap: true\n",
		"config.d/10-bad.yaml": "maxPods: 3\n",
	})
	var log bytes.Buffer
	obstruct := writerFunc(func(p []byte) (int, error) { // when the bad file is logged, the drop-ins have been read
		write(t, filepath.Join(d.dropins, last, "in-the-way"), "")
		return log.Write(p)
	})
	Check(d.etc, []string{"--config", d.config, "--config-dir=" + d.dropins}, testSystem, obstruct)
	entries, err := os.ReadDir(d.dropins)
	if err != nil || len(entries) != 2 || entries[0].Name() != "10-node.conf" || entries[1].Name() != last {
		t.Errorf("drop-ins = %v, %v, want none of the user's", entries, err)
	}
	if !strings.Contains(log.String(), "ignoring "+filepath.Join(d.etc, "config.yaml")) || !strings.Contains(log.String(), "write "+last) {
		t.Errorf("log = %q, want what is ignored and why", log.String())
	}
}

// The node's own configuration must pass its own check: a fault in it would
// make every user's file look bad.
func TestNodeDefaultsAreValid(t *testing.T) {
	d := newNode(t, map[string]string{"config.yaml": head})
	d.config = "../../../rootfs/usr/share/kios/kubelet.yaml"
	log, dropins := d.check(t)
	if log != "" || len(dropins) != 2 {
		t.Errorf("log = %q, drop-ins %v, want no complaint", log, dropins)
	}
}

func TestWithoutConfigDirNothingHappens(t *testing.T) {
	d := newNode(t, map[string]string{"config.yaml": "garbage"})
	var out bytes.Buffer
	Check(d.etc, []string{"--version"}, testSystem, &out)
	if out.Len() != 0 {
		t.Errorf("log = %q, want none", out.String())
	}
}

// PID 1 names the directory, and nobody whom the kubelet starts hears of it.
func TestEtc(t *testing.T) {
	t.Setenv("KIOS_ETC", "/run/kios/config/kubelet")
	for _, want := range []string{"/run/kios/config/kubelet", "/etc"} {
		if got := Etc(); got != want {
			t.Errorf("Etc() = %s, want %s", got, want)
		}
	}
}

// What is left of any file has nothing that the kubelet's strict decoder does not know.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(head + "registerWithTaints: [{key: a, key: b, x: {y: [null]}}]\nMaxPods: 3\n")
	_, strict, err := kubeletscheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		f.Fatal(err)
	}
	d := filepath.Join(f.TempDir(), "kubelet.yaml")
	if err := os.WriteFile(d, nodeDefaults, 0o600); err != nil {
		f.Fatal(err)
	}
	c, err := newChecker(d, f.TempDir(), testSystem)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		write(t, file, text)
		doc, err := c.read(file)
		if err != nil {
			return
		}
		data, err := doc.data()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := strict.UniversalDecoder().Decode(data, nil, nil); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	})
}
