//go:build root

package nodeconfig

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/userdata"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

// upstream returns the directory of a module that upstream/ekstools requires. This is why
// these tests have the tag root: it is not there without a network, until it was once.
func upstream(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = "../../../upstream/ekstools"
	out, err := cmd.Output()
	var found struct{ Dir, Error string }
	if json.Unmarshal(out, &found); err != nil || found.Dir == "" {
		t.Fatalf("go mod download %s: %v %s", module, err, found.Error)
	}
	return found.Dir
}

// packed are the forms in which user data may come.
var packed = map[string]func(string) string{
	"plain":            func(text string) string { return text },
	"base64":           func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
	"gzip":             gzipped,
	"gzip in base64":   func(text string) string { return base64.StdEncoding.EncodeToString([]byte(gzipped(text))) },
	"lines of Windows": func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") },
}

func gzipped(text string) string {
	var out strings.Builder
	w := gzip.NewWriter(&out)
	io.WriteString(w, text)
	w.Close()
	return out.String()
}

// made is the node of user data with a CA that is one.
func made(t *testing.T, c *Collector, m *want.Machine, text string, pack func(string) string) *want.Node {
	t.Helper()
	for _, ca := range []string{"Y2EtYnVuZGxlCg==", "Y2VydGlmaWNhdGVBdXRob3JpdHk="} {
		text = strings.ReplaceAll(text, ca, base64.StdEncoding.EncodeToString(certificate))
	}
	n, err := userdata.Read([]byte(pack(text)), m, userdata.Handlers{NodeConfig: c.Read})
	lab.Must(t, err)
	lab.Must(t, c.Finish(m, n))
	return n
}

// Karpenter makes such user data for the family AL2023, with what the user has before its
// own NodeConfig.
func TestKarpenter(t *testing.T) {
	dir := filepath.Join(upstream(t, "github.com/aws/karpenter-provider-aws"), "pkg/providers/launchtemplate/testdata")
	// The lines are about the user's shell script, and a field that there is not.
	for name, skipped := range map[string]int{"al2023_mime_userdata_merged": 2, "al2023_shell_userdata_merged": 1, "al2023_userdata_unmerged": 0, "al2023_yaml_userdata_merged": 1} {
		text := strings.ReplaceAll(lab.ReadFile(t, filepath.Join(dir, name+".golden")), "%s=%s", "example.com/pool=a")
		for form, pack := range packed {
			n := made(t, &Collector{Root: fourProcessors(t)}, machine(), text, pack)
			if n.Join.Server != "https://test-cluster" || n.EKS.Cluster != "test-cluster" || n.Kubelet["maxPods"] != 110. || len(n.Skipped) != skipped {
				t.Errorf("%s, %s: %+v", name, form, n)
			}
			labels := n.Flags[2]
			if !strings.HasPrefix(labels, "--node-labels=karpenter.k8s.aws/ec2nodeclass=") || !strings.Contains(labels, ",example.com/pool=a,") || strings.Contains(labels, `"`) {
				t.Errorf("%s, %s: %s", name, form, labels)
			}
			taints, err := json.Marshal(n.Kubelet["registerWithTaints"])
			if string(taints) != `[{"effect":"NoExecute","key":"karpenter.sh/unregistered"}]` {
				t.Errorf("%s, %s: taints %s, %v", name, form, taints, err)
			}
		}
	}
}

// nodeadmCases calls each for the NodeConfigs of nodeadm's own tests, with the node that
// they make of the machine there.
func nodeadmCases(t *testing.T, each func(path string, n *want.Node)) {
	t.Helper()
	m := machine()
	m.Type, m.ProviderID = "m4.xlarge", "aws:///us-west-2f/i-1234567890abcdef0"
	dir := filepath.Join(upstream(t, "github.com/awslabs/amazon-eks-ami/nodeadm"), "test/e2e/cases")
	paths, err := filepath.Glob(filepath.Join(dir, "*/config*.yaml"))
	if err != nil || len(paths) < 10 {
		t.Fatalf("NodeConfigs in %s: %q, %v", dir, paths, err)
	}
	for _, path := range paths {
		c := &Collector{Root: fourProcessors(t)}
		lab.WriteFile(t, filepath.Join(c.Root, "sys/devices/system/cpu/online"), "0-1\n")
		text := strings.ReplaceAll(lab.ReadFile(t, path), "http://localhost", "https://localhost")
		each(path, made(t, c, m, text, packed["gzip in base64"]))
	}
}

// What nodeadm's tests want of the kubelet is what it gets here.
func TestNodeadm(t *testing.T) {
	compared := 0
	nodeadmCases(t, func(path string, n *want.Node) {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "expected-kubelet-config.json"))
		if n.Join == nil || err != nil || strings.Contains(path, "new-instance-type") { // which asks EC2
			return
		}
		var want map[string]any
		lab.Must(t, json.Unmarshal(text, &want))
		got := fields(t, n.Kubelet)
		for _, field := range []string{"maxPods", "kubeReserved", "evictionHard", "providerID", "clusterDomain", "serverTLSBootstrap"} {
			if diff := cmp.Diff(want[field], got[field]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", path, field, diff)
			}
		}
		compared++
	})
	if compared < 3 {
		t.Errorf("%d configurations are compared", compared)
	}
}
