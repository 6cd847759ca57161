package userconfig

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
)

// effective is what the kubelet would have, with the real defaults of a node.
func effective(t *testing.T, sys System, joined bool, files map[string]string) (*config.KubeletConfiguration, string) {
	t.Helper()
	d := newNode(t, files)
	d.config = "../../../rootfs/usr/share/kios/kubelet.yaml"
	write(t, filepath.Join(d.dropins, "10-node.conf"), `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration",
		"kubeReserved":{"cpu":"100m","memory":"128Mi","pid":"2048"},
		"evictionHard":{"memory.available":"64Mi","nodefs.available":"10%","nodefs.inodesFree":"5%","imagefs.available":"15%","imagefs.inodesFree":"5%"}}`)
	args := []string{"--config", d.config, "--config-dir=" + d.dropins}
	if joined {
		args = append(args, "--kubeconfig", "/some/file")
		write(t, filepath.Join(d.dropins, "20-cluster.conf"), `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration",
			"enableServer":true,"authentication":{"webhook":{"enabled":true}},"authorization":{"mode":"Webhook"}}`)
	}
	var log bytes.Buffer
	kc := Check(d.etc, args, sys, &log)
	if kc == nil {
		t.Fatalf("no configuration: %s", &log)
	}
	return kc, log.String()
}

// The files of other distributions count, less what cannot be true here, and each of
// that has its line.
func TestFilesOfOtherSystems(t *testing.T) {
	tests := []struct {
		file string
		want func(*config.KubeletConfiguration) bool
		says []string
	}{
		{"eks.json", func(kc *config.KubeletConfiguration) bool {
			return kc.MaxPods == 29 && kc.ClusterDNS[0] == "10.100.0.10" && kc.ProviderID != "" && len(kc.RegisterWithTaints) == 1 &&
				kc.ShutdownGracePeriod.Seconds() == 45
		}, []string{
			"ignoring featureGates.DynamicKubeletConfig", "ignoring featureGates.KubeletCredentialProviders",
			"ignoring cgroupDriver systemd", "ignoring imageServiceEndpoint", "ignoring kubeReservedCgroup /runtime",
			"ignoring systemReservedCgroup /system", "ignoring authentication.x509.clientCAFile",
		}},
		{"gke.yaml", func(kc *config.KubeletConfiguration) bool {
			return kc.PodPidsLimit == 4096 && kc.ReadOnlyPort == 10255 && kc.ClusterDNS[0] == "10.8.0.10" && kc.KubeReserved["memory"] == "128Mi" &&
				kc.KubeReserved["cpu"] == "1060m"
		}, []string{
			"ignoring featureGates.DisableKubeletCloudCredentialProviders", "ignoring featureGates.ExecProbeTimeout", "ignoring authentication.x509.clientCAFile", "ignoring resolvConf",
			"ignoring tlsCertFile and tlsPrivateKeyFile",
			"this machine has 1024Mi of memory, and kubeReserved 1019Mi, evictionHard 100Mi leave too little for pods",
			"this machine has 10240Mi of ephemeral-storage",
		}},
		{"kubeadm.yaml", func(kc *config.KubeletConfiguration) bool {
			return kc.ClusterDNS[0] == "10.96.0.10" && kc.ShutdownGracePeriod.Duration == 0 && kc.HealthzPort == 10248
		}, []string{"ignoring authentication.x509.clientCAFile", "ignoring cgroupDriver systemd", "ignoring resolvConf"}},
		{"deckhouse.yaml", func(kc *config.KubeletConfiguration) bool {
			return kc.SerializeImagePulls && kc.PodPidsLimit == -1 && kc.ShutdownGracePeriod.Seconds() == 120 && kc.EvictionSoft["memory.available"] == "2%"
		}, []string{
			"ignoring featureGates.ExpandCSIVolumes", `ignoring unknown field "configTrialDuration"`, "ignoring authentication.x509.clientCAFile",
			"ignoring cgroupDriver systemd", "ignoring resolvConf",
		}},
		{"kubespray.yaml", func(kc *config.KubeletConfiguration) bool {
			return kc.Address == "0.0.0.0" && kc.ContainerLogMaxFiles == 5 && kc.ClusterDNS[0] == "10.233.0.3" && len(kc.EnforceNodeAllocatable) == 1
		}, []string{
			"ignoring authentication.x509.clientCAFile", "ignoring cgroupDriver systemd", "ignoring kubeletCgroups", "ignoring kubeReservedCgroup",
			"ignoring enforceNodeAllocatable kube-reserved", "ignoring resolvConf", "address is 0.0.0.0 and not 192.0.2.17",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			kc, log := effective(t, listening, true, map[string]string{"config.yaml": string(text)})
			if !tt.want(kc) {
				t.Errorf("the file does not count: %+v", kc)
			}
			checkOurs(t, kc)
			for _, want := range tt.says {
				if strings.Count(log, want) != 1 {
					t.Errorf("log does not say once %q", want)
				}
			}
			if t.Failed() || strings.Count(log, "\n") != len(tt.says) {
				t.Errorf("log of %d lines, want %d:\n%s", strings.Count(log, "\n"), len(tt.says), log)
			}
		})
	}
}

// listening is the test's machine, and can listen where this computer can.
var listening = System{Machine: func() (Machine, bool) {
	m := testMachine(1<<30, 2)
	m.Listen = listen
	return m, true
}}

// checkOurs looks at what must be so on each node, or there is no network pod.
func checkOurs(t *testing.T, kc *config.KubeletConfiguration) {
	t.Helper()
	if kc.StaticPodPath != "/etc/kubernetes/manifests" || kc.ContainerRuntimeEndpoint != "unix:///run/containerd/containerd.sock" ||
		kc.ImageServiceEndpoint != "" || kc.CgroupDriver != "cgroupfs" || kc.KubeletCgroups != "/kubelet" || kc.SystemCgroups != "" ||
		kc.ResolverConfig != "/etc/resolv.conf" || !kc.CgroupsPerQOS || kc.KubeReservedCgroup != "" || kc.SystemReservedCgroup != "" {
		t.Errorf("a field that must be the node's own is not: %+v", kc)
	}
}

func TestForeignFields(t *testing.T) {
	tests := []struct{ field, says string }{
		{"staticPodPath: /etc/kubelet.d", "ignoring staticPodPath /etc/kubelet.d: the static pods of this node are in /etc/kubernetes/manifests"},
		{"staticPodPath: ''", ""},
		{"staticPodPath: /etc/kubernetes/manifests/", ""},
		{"staticPodPath: null", ""},
		{"StaticPodPath: /etc/kubelet.d", `ignoring unknown field "StaticPodPath"`},
		{"containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock", ""},
		{"containerRuntimeEndpoint: unix:///var/run/crio/crio.sock", "the runtime of this node is unix:///run/containerd/containerd.sock"},
		{"imageServiceEndpoint: unix:///run/containerd/containerd.sock", ""},
		{"imageServiceEndpoint: unix:///run/x.sock", "images come from the runtime of this node"},
		{"cgroupDriver: systemd", "there is no systemd, so it is cgroupfs"},
		{"cgroupRoot: /kube.slice", "pods are below /, in /kubepods"},
		{"cgroupRoot: /", ""},
		{"cgroupsPerQOS: false\nenforceNodeAllocatable: []", "ignoring cgroupsPerQOS false"},
		{"kubeletCgroups: /systemd/system.slice", "the kubelet is in /kubelet"},
		{"systemCgroups: /system\ncgroupRoot: /", "ignoring systemCgroups /system"},
		{"enforceNodeAllocatable: [pods, system-reserved-compressible]\nsystemReservedCgroup: ''", "ignoring enforceNodeAllocatable system-reserved-compressible"},
		{"enforceNodeAllocatable: [none]", ""},
		{"runOnce: true", "the kubelet has no such mode"},
		{"resolvConf: ''", ""},
		{"podLogsDir: /etc/hostname/logs", "ignoring podLogsDir /etc/hostname/logs"},
		{"volumePluginDir: /etc/hostname/exec", "ignoring volumePluginDir /etc/hostname/exec"},
		{"podPidsLimit: 10", "podPidsLimit is 128 and not 10"},
		{"runtimeRequestTimeout: 1ms", "runtimeRequestTimeout is 30s and not 1ms"},
		{"maxOpenFiles: 100", "maxOpenFiles is 4096 and not 100"},
		{"maxPods: 2", "maxPods is 8 and not 2"},
		{"podsPerCore: 1", "podsPerCore is 4 and not 1"},
	}
	for _, tt := range tests {
		t.Run(tt.field, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.d/1.conf": head + tt.field + "\ncontainerLogMaxFiles: 7\n"})
			if kc.ContainerLogMaxFiles != 7 {
				t.Errorf("the rest of the file does not count: %s", log)
			}
			if kc.ResolverConfig == "" {
				kc.ResolverConfig = "/etc/resolv.conf"
			}
			checkOurs(t, kc)
			if lines := strings.Count(log, "\n"); !strings.Contains(log, tt.says) || (tt.says == "") != (lines == 0) || lines > 1 {
				t.Errorf("log = %q, want %q", log, tt.says)
			}
		})
	}
}

// What the kubelet does not know costs itself, and no more.
func TestLenient(t *testing.T) {
	tests := []struct{ content, says string }{
		{"metadata: {name: kubelet}\n", `ignoring unknown field "metadata"`},
		{"configTrialDuration: 10m0s\n", `ignoring unknown field "configTrialDuration"`},
		{"authentication: {webhook: {enable: true}}\n", `ignoring unknown field "authentication.webhook.enable"`},
		{"registerWithTaints: [{key: a, effect: NoSchedule, since: now}]\n", `ignoring unknown field "registerWithTaints[0].since"`},
		{"maxPods: 3\n", `"maxPods" already set`},
		{"featureGates: {NoSuchGate: true}\n", "ignoring featureGates.NoSuchGate: "},
		{"featureGates: {ExecProbeTimeout: true, ExpandCSIVolumes: true}\n", "ignoring featureGates.ExpandCSIVolumes: "},
		{"featureGates: {SidecarContainers: false}\n", "ignoring featureGates.SidecarContainers: "},
	}
	for _, tt := range tests {
		t.Run(tt.content, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "maxPods: 30\n"})
			if kc.MaxPods != 30 || !strings.Contains(log, tt.says) || strings.Count(log, "\n") != 1 {
				t.Errorf("maxPods %d, log %q, want 30 and %q", kc.MaxPods, log, tt.says)
			}
		})
	}
}

// Each of these is a whole and good file for a kubelet elsewhere.
func TestOwnDefaultsYield(t *testing.T) {
	tests := []struct {
		content string
		want    func(*config.KubeletConfiguration) bool
	}{
		{"shutdownGracePeriodByPodPriority: [{priority: 100000, shutdownGracePeriodSeconds: 10}, {priority: 0, shutdownGracePeriodSeconds: 30}]",
			func(kc *config.KubeletConfiguration) bool {
				return len(kc.ShutdownGracePeriodByPodPriority) == 2 && kc.ShutdownGracePeriod.Duration == 0
			}},
		{"shutdownGracePeriod: 0s", func(kc *config.KubeletConfiguration) bool { return kc.ShutdownGracePeriod.Duration == 0 }},
		{"shutdownGracePeriod: 5s", func(kc *config.KubeletConfiguration) bool { return kc.ShutdownGracePeriod.Seconds() == 5 }},
		{"enableSystemLogHandler: false", func(kc *config.KubeletConfiguration) bool {
			return !kc.EnableSystemLogHandler && !kc.EnableSystemLogQuery
		}},
		{"featureGates: {NodeLogQuery: false}", func(kc *config.KubeletConfiguration) bool {
			return kc.EnableSystemLogHandler && !kc.EnableSystemLogQuery
		}},
		{"featureGates: {KubeletCrashLoopBackOffMax: false}", func(kc *config.KubeletConfiguration) bool {
			on, set := kc.FeatureGates["KubeletCrashLoopBackOffMax"]
			return set && !on
		}},
		{"featureGates: {AllBeta: false}", func(kc *config.KubeletConfiguration) bool {
			on, set := kc.FeatureGates["AllBeta"]
			return set && !on
		}},
		{"featureGates: {GracefulNodeShutdown: false, GracefulNodeShutdownBasedOnPodPriority: false, WindowsGracefulNodeShutdown: false}", func(kc *config.KubeletConfiguration) bool { return kc.ShutdownGracePeriod.Duration == 0 }},
		{"nodeStatusUpdateFrequency: 4s", func(kc *config.KubeletConfiguration) bool { return kc.NodeStatusReportFrequency.Seconds() == 4 }},
		{"featureGates: {KubeletEnsureSecretPulledImages: false}", func(kc *config.KubeletConfiguration) bool {
			return kc.ImagePullCredentialsVerificationPolicy == ""
		}},
		{"serializeImagePulls: true", func(kc *config.KubeletConfiguration) bool { return kc.SerializeImagePulls }},
		{"imageGCLowThresholdPercent: 84", func(kc *config.KubeletConfiguration) bool { return kc.ImageGCLowThresholdPercent == 84 }},
	}
	for _, tt := range tests {
		t.Run(tt.content, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + tt.content + "\n"})
			if !tt.want(kc) || log != "" {
				t.Errorf("log %q, configuration %+v", log, kc)
			}
		})
	}
}

// Before the kubelet reads a drop-in, it has filled in its defaults. One that depends on a
// field of the user has to be taken out of that again.
func TestFilledInDefaults(t *testing.T) {
	tests := []struct{ content, want string }{
		{"featureGates: {AllBeta: false}", "imagePullCredentialsVerificationPolicy"},
		{"featureGates: {KubeletEnsureSecretPulledImages: false}", "imagePullCredentialsVerificationPolicy"},
		{"nodeStatusUpdateFrequency: 4s", "nodeStatusReportFrequency"},
	}
	for _, tt := range tests {
		t.Run(tt.content, func(t *testing.T) {
			d := newNode(t, map[string]string{"config.yaml": head + tt.content + "\n"})
			log, _ := d.check(t)
			text, err := os.ReadFile(filepath.Join(d.dropins, last))
			if err != nil || log != "" || !strings.Contains(string(text), `"`+tt.want+`": null`) {
				t.Errorf("%s = %s, %v; log %q, want %s: null", last, text, err, log, tt.want)
			}
		})
	}
}

// What the kubelet checks is all files together.
func TestFilesThatNeedOneAnother(t *testing.T) {
	kc, log := effective(t, testSystem, false, map[string]string{
		"config.d/1.yaml": head + "imageGCHighThresholdPercent: 60\n",
		"config.d/2.yaml": head + "imageGCLowThresholdPercent: 50\n",
	})
	if kc.ImageGCHighThresholdPercent != 60 || log != "" {
		t.Errorf("high threshold %d, log %q", kc.ImageGCHighThresholdPercent, log)
	}
}

// A feature gate may need one of another file, whatever else is bad.
func TestGatesOfTwoFiles(t *testing.T) {
	const needs, needed = "InPlacePodLevelResourcesVerticalScaling", "NodeDeclaredFeatures"
	for _, bad := range []string{"", "maxPods: -1", "featureGates: {UserNamespacesSupport: false}"} {
		for _, order := range [][2]string{{needs, needed}, {needed, needs}} {
			kc, log := effective(t, testSystem, false, map[string]string{
				"config.d/1.yaml": head + "featureGates: {" + order[0] + ": true}\n",
				"config.d/2.yaml": head + "featureGates: {" + order[1] + ": true}\n",
				"config.d/3.yaml": head + bad + "\n",
			})
			if !kc.FeatureGates[needs] || !kc.FeatureGates[needed] || strings.Count(log, "\n") != min(len(bad), 1) {
				t.Errorf("%q beside %q: gates %v, log %q", order, bad, kc.FeatureGates, log)
			}
		}
	}
	kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + "featureGates: {" + needs + ": true, " + needed + ": false}\nmaxPods: 30\n"})
	if kc.FeatureGates[needs] || kc.MaxPods != 30 || !strings.Contains(log, "ignoring featureGates."+needs+": ") {
		t.Errorf("without the gate that it needs: %v, log %q", kc.FeatureGates, log)
	}
}

// A fault beside them takes nothing from files that need one another.
func TestFilesThatNeedOneAnotherBesideAFault(t *testing.T) {
	soft, grace := head+"evictionSoft: {memory.available: 200Mi}\n", head+"evictionSoftGracePeriod: {memory.available: 30s}\n"
	tests := []struct{ name, a, b, bad string }{
		{"in order", soft, grace, "maxPods: -1"},
		{"in the other order", grace, soft, "maxPods: -1"},
		{"two faults", soft, grace, "maxPods: -1\nport: 99999"},
		{"a fault in a map", soft, grace, "kubeReserved: {memory: 100Mi, gpu: '1'}"},
		{"a fault that hides others", soft, grace, "featureGates: {UserNamespacesSupport: false}\nport: 99999"},
		{"a field and its gate", head + "cpuCFSQuotaPeriod: 10ms\n" + soft[len(head):], head + "featureGates: {CustomCPUCFSQuotaPeriod: true}\n" + grace[len(head):],
			"featureGates: {UserNamespacesSupport: false}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kc, log := effective(t, testSystem, false, map[string]string{
				"config.d/1.yaml": tt.a, "config.d/2.yaml": tt.b, "config.d/3.yaml": head + tt.bad + "\neventBurst: 77\n",
			})
			want := strings.Count(tt.bad, "\n") + 1
			if kc.EventBurst != 77 || kc.EvictionSoft["memory.available"] != "200Mi" || kc.EvictionSoftGracePeriod["memory.available"] != "30s" ||
				strings.Count(log, "\n") != want || strings.Count(log, "3.yaml: ignoring ") != want {
				t.Errorf("a file lost what is good, or the log is not %d lines: %s", want, log)
			}
		})
	}
}

// A directory on the read-only root cannot be written.
func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("needs root: %v", err)
	}
	defer unix.Unmount(dir, 0)
	kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": head + "maxPods: 30\nvolumePluginDir: " + dir + "/a/b\n"})
	if kc.MaxPods != 30 || kc.VolumePluginDir != "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/" || !strings.Contains(log, "it is on the read-only root") {
		t.Errorf("volumePluginDir %s, log %q", kc.VolumePluginDir, log)
	}
}
