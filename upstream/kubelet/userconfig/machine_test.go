package userconfig

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	cpustate "k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/images/pullmanager"
)

// A reserve that this machine does not have is named, and the node's own is used. What
// fits is the user's.
func TestReserves(t *testing.T) {
	const tooLittle = "leave too little for pods"
	tests := []struct {
		content string
		want    func(*config.KubeletConfiguration) bool
		says    string
	}{
		{"systemReserved: {memory: 8Gi, cpu: 200m}", func(kc *config.KubeletConfiguration) bool {
			return kc.SystemReserved["memory"] == "" && kc.SystemReserved["cpu"] == "200m"
		}, "this machine has 1024Mi of memory, and systemReserved 8Gi, kubeReserved 128Mi, evictionHard 64Mi " + tooLittle},
		{"kubeReserved: {cpu: '9'}", func(kc *config.KubeletConfiguration) bool { return kc.KubeReserved["cpu"] == "100m" }, "2 of cpu, and kubeReserved 9 " + tooLittle},
		{"systemReserved: {ephemeral-storage: 76Gi}", func(kc *config.KubeletConfiguration) bool { return kc.SystemReserved["ephemeral-storage"] == "" }, "systemReserved 76Gi"},
		{"kubeReserved: {pid: '100000'}", func(kc *config.KubeletConfiguration) bool { return kc.KubeReserved["pid"] == "2048" }, "8192 of pid, and kubeReserved 100000"},
		{"evictionHard: {memory.available: 95%}", func(kc *config.KubeletConfiguration) bool { return kc.EvictionHard["memory.available"] == "64Mi" }, "evictionHard 95%"},
		{"systemReserved: {memory: 800Mi}", func(kc *config.KubeletConfiguration) bool { return kc.SystemReserved["memory"] == "" }, tooLittle}, // 32 MiB would be left
		{"systemReserved: {memory: 500Mi}", func(kc *config.KubeletConfiguration) bool { return kc.SystemReserved["memory"] == "500Mi" }, ""},
		{"kubeReserved: {memory: 300Mi}\nmaxPods: 20", func(kc *config.KubeletConfiguration) bool { return kc.KubeReserved["memory"] == "300Mi" }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.content, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "\nsyncFrequency: 2m\n"})
			if !tt.want(kc) || kc.SyncFrequency.Minutes() != 2 {
				t.Errorf("reserved %v and %v, eviction at %v", kc.SystemReserved, kc.KubeReserved, kc.EvictionHard)
			}
			if !strings.Contains(log, tt.says) || strings.Count(log, "\n") > 1 || (log == "") != (tt.says == "") {
				t.Errorf("log = %q, want %q", log, tt.says)
			}
		})
	}
}

// The reserve is for as many pods as there may be.
func TestReserveFollowsMaxPods(t *testing.T) {
	for _, tt := range []struct {
		memory  uint64
		maxPods int
		want    string
	}{
		{64 << 30, 250, "2176Mi"},
		{64 << 30, 20, "336Mi"},
		{1 << 30, 250, "128Mi"},  // no more than an eighth
		{64 << 30, 110, "128Mi"}, // as the test's drop-in has it
	} {
		sys := System{Machine: func() (Machine, bool) { return testMachine(tt.memory, 2), true }}
		kc, log := effective(t, sys, false, map[string]string{"config.yaml": fmt.Sprintf("%smaxPods: %d\n", head, tt.maxPods)})
		if kc.KubeReserved["memory"] != tt.want || log != "" {
			t.Errorf("%d pods: reserved %v, want %s; log %q", tt.maxPods, kc.KubeReserved, tt.want, log)
		}
	}
}

func TestManagers(t *testing.T) {
	tests := []struct {
		content string
		want    func(*config.KubeletConfiguration) bool
		says    string
	}{
		{"cpuManagerPolicy: static", func(kc *config.KubeletConfiguration) bool { return kc.CPUManagerPolicy == "static" }, ""},
		{"cpuManagerPolicy: static\nreservedSystemCPUs: 0-7", func(kc *config.KubeletConfiguration) bool {
			return kc.CPUManagerPolicy == "static" && kc.ReservedSystemCPUs == ""
		}, "ignoring reservedSystemCPUs: the processors of this machine are 0-1"},
		{"reservedSystemCPUs: 0-1", func(kc *config.KubeletConfiguration) bool { return kc.ReservedSystemCPUs == "" },
			"ignoring reservedSystemCPUs: they are all that this machine has"},
		{"featureGates: {CPUManagerPolicyAlphaOptions: true}\ncpuManagerPolicy: static\ncpuManagerPolicyOptions: {align-by-socket: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return kc.CPUManagerPolicy == "static" && kc.CPUManagerPolicyOptions["align-by-socket"] == "true"
		}, ""},
		{"cpuManagerPolicy: static\ncpuManagerPolicyOptions: {align-by-socket: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return kc.CPUManagerPolicy == "none"
		}, "not enabled"},
		{"featureGates: {CPUManagerPolicyBetaOptions: false}\ncpuManagerPolicy: static\ncpuManagerPolicyOptions: {distribute-cpus-across-numa: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return kc.CPUManagerPolicy == "none"
		}, "not enabled"},
		{"cpuManagerPolicy: static\ncpuManagerPolicyOptions: {no-such-option: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return kc.CPUManagerPolicy == "none" && len(kc.CPUManagerPolicyOptions) == 0
		}, "ignoring cpuManagerPolicy: "},
		{"topologyManagerPolicy: restricted\ntopologyManagerPolicyOptions: {no-such-option: 'true'}", func(kc *config.KubeletConfiguration) bool {
			return kc.TopologyManagerPolicy == "none"
		}, "ignoring topologyManagerPolicy: "},
		{"memoryManagerPolicy: Static\nreservedMemory: [{numaNode: 0, limits: {memory: 300Mi}}]", func(kc *config.KubeletConfiguration) bool {
			return kc.MemoryManagerPolicy == "Static" && kc.KubeReserved["memory"] == fmt.Sprint((300-64)<<20)
		}, ""},
		{"memoryManagerPolicy: Static", func(kc *config.KubeletConfiguration) bool {
			return kc.MemoryManagerPolicy == "Static" && len(kc.ReservedMemory) == 1
		}, ""},
		{"memoryManagerPolicy: Static\nkubeReserved: {memory: 200Mi}\nreservedMemory: [{numaNode: 0, limits: {memory: 300Mi}}]", func(kc *config.KubeletConfiguration) bool {
			return kc.MemoryManagerPolicy == "None" && kc.KubeReserved["memory"] == "200Mi"
		}, "ignoring memoryManagerPolicy: "},
		{"memoryManagerPolicy: Static\nreservedMemory: [{numaNode: 5, limits: {memory: 300Mi}}]", func(kc *config.KubeletConfiguration) bool {
			return kc.MemoryManagerPolicy == "None"
		}, "ignoring memoryManagerPolicy: "},
	}
	for _, tt := range tests {
		t.Run(tt.content, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "\nmaxPods: 110\n"})
			if !tt.want(kc) || !strings.Contains(log, tt.says) || (log == "") != (tt.says == "") {
				t.Errorf("policies %s %s %s, reserved %v %v, log %q", kc.CPUManagerPolicy, kc.MemoryManagerPolicy, kc.TopologyManagerPolicy,
					kc.KubeReserved, kc.ReservedMemory, log)
			}
		})
	}
}

// Whoever sets other parameters of the kernel must not lose the kubelet.
func TestProtectKernelDefaults(t *testing.T) {
	for _, overcommit := range []int{0, 1} {
		sys := System{Machine: func() (Machine, bool) {
			m := testMachine(1<<30, 2)
			m.Sysctl = func(name string) (int, bool) { return overcommit, name == "vm/overcommit_memory" }
			return m, true
		}}
		kc, log := effective(t, sys, false, map[string]string{"config.yaml": head + "protectKernelDefaults: true\n"})
		if kc.ProtectKernelDefaults != (overcommit == 1) || strings.Contains(log, "vm/overcommit_memory is 0, and the kubelet wants 1") != (overcommit == 0) {
			t.Errorf("overcommit %d: protectKernelDefaults %v, log %q", overcommit, kc.ProtectKernelDefaults, log)
		}
	}
}

func TestPorts(t *testing.T) {
	const port, readOnly = 20250, 20255
	tests := []struct {
		taken  string
		server bool
		want   int32 // the port without authentication
		says   string
	}{
		{"", true, readOnly, ""},
		{":20250", false, readOnly, "port 20250 is in use by another program"},
		{":20255", true, 0, "readOnlyPort is 0 and not 20255"},
	}
	for _, tt := range tests {
		sys := System{Machine: func() (Machine, bool) {
			m := testMachine(1<<30, 2)
			m.Listen = func(address string) error {
				if tt.taken != "" && strings.HasSuffix(address, tt.taken) {
					return &os.SyscallError{Syscall: "bind", Err: syscall.EADDRINUSE}
				}
				return nil
			}
			return m, true
		}}
		kc, log := effective(t, sys, true, map[string]string{"config.yaml": fmt.Sprintf("%sport: %d\nreadOnlyPort: %d\n", head, port, readOnly)})
		if kc.EnableServer != tt.server || kc.ReadOnlyPort != tt.want || !strings.Contains(log, tt.says) || (log == "") != (tt.says == "") {
			t.Errorf("%q taken: server %v, readOnlyPort %d, log %q", tt.taken, kc.EnableServer, kc.ReadOnlyPort, log)
		}
	}
}

// A pod that has the kubelet's port costs the port, and not the kubelet.
func TestPortIsTakenWithoutFiles(t *testing.T) {
	if err := listen("0.0.0.0:10250"); err != nil {
		t.Skipf("this computer has a kubelet: %v", err)
	}
	d := newNode(t, nil)
	if log, dropins := d.check(t); log != "" || len(dropins) != 1 {
		t.Fatalf("the port is free: log %q, drop-ins %v", log, dropins)
	}
	l, err := net.Listen("tcp", "0.0.0.0:10250")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log, dropins := d.check(t)
	text, _ := os.ReadFile(filepath.Join(d.dropins, last))
	if !strings.Contains(log, "port 10250 is in use by another program") || len(dropins) != 2 || !strings.Contains(string(text), `"enableServer":false`) {
		t.Errorf("log %q, drop-ins %v: %s", log, dropins, text)
	}
}

func TestHealthzPortOfTheKubelet(t *testing.T) {
	kc, log := effective(t, listening, true, map[string]string{"config.yaml": head + "healthzPort: 20250\nport: 20250\n"})
	if kc.HealthzPort != 0 || !kc.EnableServer || !strings.Contains(log, "healthzPort is 0 and not 20250") {
		t.Errorf("healthzPort %d, log %q", kc.HealthzPort, log)
	}
}

// State files of another policy, of another machine, or cut off by a power cut are put
// aside. The others stay.
func TestPutAside(t *testing.T) {
	static := &config.KubeletConfiguration{CPUManagerPolicy: "static", MemoryManagerPolicy: "None", KubeReserved: map[string]string{"cpu": "100m"}, TopologyManagerPolicy: "none", TopologyManagerScope: "container"}
	memory := &config.KubeletConfiguration{CPUManagerPolicy: "none", MemoryManagerPolicy: "Static", KubeReserved: map[string]string{"memory": "100Mi"},
		ReservedMemory: []config.MemoryReservation{{Limits: corev1.ResourceList{"memory": resource.MustParse("100Mi")}}}, TopologyManagerPolicy: "none", TopologyManagerScope: "container"}
	four := System{Machine: func() (Machine, bool) { return testMachine(2<<30, 4), true }}
	tests := []struct {
		name        string
		first, then *config.KubeletConfiguration
		sys         System
		aside       string
	}{
		{"same", static, static, testSystem, ""},
		{"static to none", static, nil, testSystem, "cpu_manager_state"},
		{"none to static", nil, static, testSystem, "cpu_manager_state"},
		{"more processors", static, static, four, "cpu_manager_state"},
		{"memory, same", memory, memory, testSystem, ""},
		{"memory to none", memory, nil, testSystem, "memory_manager_state"},
		{"more memory", memory, memory, four, "memory_manager_state"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"cpu_manager_state", "memory_manager_state"} {
				makeState(t, dir, name, tt.first)
			}
			var said []string
			PutAside(dir, tt.then, tt.sys, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
			old, _ := filepath.Glob(filepath.Join(dir, "*.old"))
			switch {
			case tt.aside == "":
				if len(old) != 0 || len(said) != 0 {
					t.Errorf("put aside %v, said %q", old, said)
				}
			case len(old) != 1 || filepath.Base(old[0]) != tt.aside+".old" || len(said) != 1 || !strings.Contains(said[0], tt.aside):
				t.Errorf("put aside %v, said %q, want %s", old, said, tt.aside)
			}
		})
	}
}

// makeState has the kubelet's own code write a state file.
func makeState(t *testing.T, dir, name string, kc *config.KubeletConfiguration) {
	t.Helper()
	if kc == nil {
		kc = &config.KubeletConfiguration{CPUManagerPolicy: "none", MemoryManagerPolicy: "None"}
	}
	m, _ := testSystem.Machine()
	for _, f := range stateFiles {
		if f.name == name {
			if err := f.read(dir, name, kc, m); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSpoiltStateIsPutAside(t *testing.T) {
	for _, f := range stateFiles {
		for _, content := range []string{"", "{\"policyName\":\"no", "\x00\x00\x00\x00"} {
			dir := t.TempDir()
			write(t, filepath.Join(dir, f.name), content)
			var said string
			PutAside(dir, nil, testSystem, func(format string, args ...any) { said += fmt.Sprintf(format, args...) })
			_, err := os.Stat(filepath.Join(dir, f.name+".old"))
			_, gone := os.Stat(filepath.Join(dir, f.name))
			if err != nil || !errors.Is(gone, os.ErrNotExist) && f.name != "dra_manager_state" || said == "" {
				t.Errorf("%s with %q: %v, said %q", f.name, content, err, said)
			}
		}
	}
}

// The files of user namespaces are state, too.
func TestUsersArePutAside(t *testing.T) {
	const good = `{"uidMappings":[{"hostId":%[1]d,"containerId":0,"length":%[2]d}],"gidMappings":[{"hostId":%[1]d,"containerId":0,"length":%[2]d}]}`
	twice := int64(2 * 65536)
	other := &config.KubeletConfiguration{CPUManagerPolicy: "none", MemoryManagerPolicy: "None", MaxPods: 110, UserNamespaces: &config.UserNamespaces{IDsPerPod: &twice}}
	for _, tt := range []struct {
		name, content string
		kc            *config.KubeletConfiguration
		aside         bool
	}{
		{"good", fmt.Sprintf(good, 3*65536, 65536), nil, false},
		{"none", "", nil, false},
		{"cut off", `{"uidMappings":[{"host`, nil, true},
		{"of another length", fmt.Sprintf(good, 4*65536, 65536), other, true},
		{"of another pod", fmt.Sprintf(good, 2*65536, 65536), nil, true},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "pods/1/userns"), fmt.Sprintf(good, 2*65536, 65536))
		if tt.kc != nil {
			write(t, filepath.Join(dir, "pods/1/userns"), fmt.Sprintf(good, 4*65536, 2*65536))
		}
		write(t, filepath.Join(dir, "pods/2/userns"), tt.content)
		var said string
		PutAside(dir, tt.kc, testSystem, func(format string, args ...any) { said += fmt.Sprintf(format, args...) })
		_, err := os.Stat(filepath.Join(dir, "pods/2/userns.old"))
		if _, first := os.Stat(filepath.Join(dir, "pods/1/userns")); (err == nil) != tt.aside || first != nil || (said != "") != tt.aside {
			t.Errorf("%s: put aside: %v, the other: %v, said %q", tt.name, err == nil, first, said)
		}
	}
}

// This computer is seen as the kubelet sees it.
func TestThisMachine(t *testing.T) {
	m, known := Node().Machine()
	if !known || m.Info.MemoryCapacity == 0 || m.Info.NumCores == 0 || len(m.Info.Topology) != 0 {
		t.Fatalf("machine %+v, %v", m, known)
	}
	m, err := m.withTopology()
	if err != nil || len(m.Info.Topology) == 0 || m.Info.NumCores == 0 {
		t.Fatalf("with its topology: %+v, %v", m.Info, err)
	}
	kc, log := effective(t, Node(), false, map[string]string{"config.yaml": head + "cpuManagerPolicy: static\n"})
	if kc.CPUManagerPolicy != "static" {
		t.Errorf("policy %s, log %q", kc.CPUManagerPolicy, log)
	}
}

// The kubelet's own policy is asked about the images of the node's pods, and about others.
func TestSystemImagesNeedNoCredentials(t *testing.T) {
	const word, list = "imagePullCredentialsVerificationPolicy: ", "\npreloadedImagesVerificationAllowlist: "
	tests := []struct {
		content, says string
		verified      bool // an image that somebody has loaded
	}{
		{word + "AlwaysVerify", "imagePullCredentialsVerificationPolicy is NeverVerifyAllowlistedImages for kios.local/* and not AlwaysVerify", true},
		{word + "NeverVerifyAllowlistedImages", "preloadedImagesVerificationAllowlist has kios.local/*, too", true},
		{word + "NeverVerifyAllowlistedImages" + list + "[example.org/*]", "preloadedImagesVerificationAllowlist has kios.local/*, too", false},
		{word + "NeverVerifyAllowlistedImages" + list + "['kios.local/*']", "", true},
		{word + "NeverVerify", "", false},
		{"maxPods: 20", "", false},
	}
	for _, tt := range tests {
		kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "\n"})
		policy, err := pullmanager.NewImagePullCredentialVerificationPolicy(config.ImagePullCredentialsVerificationPolicy(kc.ImagePullCredentialsVerificationPolicy), kc.PreloadedImagesVerificationAllowlist)
		if err != nil {
			t.Fatal(err)
		}
		if policy.RequireCredentialVerificationForImage("kios.local/system:1", false) {
			t.Errorf("%s: the node's own pods do not start", tt.content)
		}
		if got := policy.RequireCredentialVerificationForImage("example.org/app:1", false); got != tt.verified {
			t.Errorf("%s: an image of others is verified: %v, want %v", tt.content, got, tt.verified)
		}
		if !strings.Contains(log, tt.says) || (tt.says == "") != (log == "") {
			t.Errorf("%s: log = %q, want %q", tt.content, log, tt.says)
		}
	}
}

// The state of an option that needs a feature gate is not that of another policy.
func TestStateOfAnOptionBehindAGate(t *testing.T) {
	kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head +
		"featureGates: {CPUManagerPolicyAlphaOptions: true}\ncpuManagerPolicy: static\ncpuManagerPolicyOptions: {align-by-socket: 'true'}\n"})
	dir := t.TempDir()
	if _, err := cpustate.NewCheckpointState(logr.Discard(), dir, "cpu_manager_state", kc.CPUManagerPolicy, containermap.ContainerMap{}); err != nil || log != "" {
		t.Fatal(err, log)
	}
	PutAside(dir, kc, testSystem, t.Errorf)
}
