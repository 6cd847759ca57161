package userconfig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The copy that a host uses is the node's.
func TestNodeDefaultsAreTheNodes(t *testing.T) {
	text, err := os.ReadFile("../../../rootfs/usr/share/kios/kubelet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, nodeDefaults) {
		t.Error("kubelet.yaml is not rootfs/usr/share/kios/kubelet.yaml: copy it")
	}
}

// onHost runs the command as a process of its own, as kios does.
func onHost(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{hostCommand}, args...)...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if fail := cmd.Run(); fail != nil && cmd.ProcessState == nil {
		t.Fatal(fail)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func TestCheckOnHost(t *testing.T) {
	const kc = "kubernetes/config.yaml"
	tests := []struct {
		name, content string
		file          string
		args          []string
		want          []string
	}{
		{"nothing", "", "kubernetes/other", nil, nil},
		{"good", head + "maxPods: 30\n", kc, nil, nil},
		{"bad", "maxPods: 3\n", kc, nil, []string{"ignoring /etc/kubernetes/config.yaml: "}},
		{"foreign", head + "cgroupDriver: systemd\nstaticPodPath: /x\n", kc, nil,
			[]string{"/etc/kubernetes/config.yaml: ignoring staticPodPath /x: ", "/etc/kubernetes/config.yaml: ignoring cgroupDriver systemd: "}},
		{"a file of systemd", head + "resolvConf: /run/systemd/resolve/resolv.conf\n", kc, nil, []string{"ignoring resolvConf"}},
		{"a file that is given", head + "resolvConf: /etc/kubernetes/config.yaml\n", kc, nil, nil},
		{"a file that is not given", head + "authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}\n", kc, nil, []string{"clientCAFile"}},
		{"too much, on any machine", head + "systemReserved: {memory: 8Gi}\n", kc, nil, nil},
		{"too much, on this machine", head + "systemReserved: {memory: 8Gi}\n", kc, []string{"--memory", "1073741824", "--cpus=2"},
			[]string{"/etc/kubernetes/config.yaml: this machine has 1024Mi of memory, and systemReserved 8Gi, kubeReserved 128Mi, evictionHard 64Mi leave"}},
		{"enough on this machine", head + "systemReserved: {memory: 8Gi}\n", kc, []string{"--memory=17179869184"}, nil},
		// The kubelet's own code logs of these.
		{"a gate that cannot be switched", head + "featureGates: {SidecarContainers: true}\n", kc, nil, nil},
		{"managers", head + "cpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\nmemoryManagerPolicy: Static\nreservedMemory: [{numaNode: 0, limits: {memory: 500Mi}}]\n" +
			"topologyManagerPolicy: restricted\n", kc, []string{"--memory", "8589934592", "--cpus=4"}, nil},
		{"what is best on one NUMA node", head + "topologyManagerPolicy: best-effort\ntopologyManagerPolicyOptions: {prefer-closest-numa-nodes: 'true'}\n", kc, []string{"--memory=17179869184"}, nil},
		{"a file in place of the directory", "", "kubernetes", nil, []string{"credential-providers.yaml"}},
		{"good providers", "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n" + providerConfig, "kubernetes/credential-providers.yaml", nil, nil},
		{"bad providers", "kind: CredentialProviderConfig\n" + providerConfig, "kubernetes/credential-providers.yaml", nil,
			[]string{"ignoring /etc/kubernetes/credential-providers.yaml: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, tt.file), tt.content)
			stdout, stderr, code := onHost(t, append([]string{dir}, tt.args...)...)
			lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
			if stdout == "" {
				lines = nil
			}
			if code != 0 || len(lines) != len(tt.want) || stderr != "" {
				t.Fatalf("code %d, stdout %q, stderr %q, want %d lines", code, stdout, stderr, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) || strings.HasPrefix(lines[i], "kios: ") {
					t.Errorf("line %q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestCheckOnHostCannot(t *testing.T) {
	for _, args := range [][]string{{}, {"/no/such/directory"}, {t.TempDir(), "--memory", "much"}} {
		if stdout, stderr, code := onHost(t, args...); code != 1 || stdout != "" || !strings.Contains(stderr, hostCommand) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want a reason", args, code, stdout, stderr)
		}
	}
}
