//go:build root

package nodeconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// nodeConfigs returns the NodeConfigs of user data, with a CA that is one.
func nodeConfigs(t *testing.T, text string) []string {
	t.Helper()
	for _, ca := range []string{"Y2EtYnVuZGxlCg==", "Y2VydGlmaWNhdGVBdXRob3JpdHk="} {
		text = strings.ReplaceAll(text, ca, base64.StdEncoding.EncodeToString(certificate))
	}
	msg, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil || !strings.HasPrefix(msg.Header.Get("Content-Type"), "multipart/") {
		return []string{text}
	}
	_, boundary, _ := strings.Cut(msg.Header.Get("Content-Type"), "boundary=")
	var all []string
	for r := multipart.NewReader(msg.Body, strings.Trim(boundary, `"`)); ; {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return all
		}
		lab.Must(t, err)
		text, err := io.ReadAll(part)
		lab.Must(t, err)
		if part.Header.Get("Content-Type") == "application/node.eks.aws" {
			all = append(all, string(text))
		}
	}
}

// Karpenter makes such user data for the family AL2023, with what the user has before its
// own NodeConfig.
func TestKarpenter(t *testing.T) {
	dir := filepath.Join(upstream(t, "github.com/aws/karpenter-provider-aws"), "pkg/providers/launchtemplate/testdata")
	for name, parts := range map[string]int{"al2023_mime_userdata_merged": 2, "al2023_shell_userdata_merged": 1, "al2023_userdata_unmerged": 1, "al2023_yaml_userdata_merged": 2} {
		text := lab.ReadFile(t, filepath.Join(dir, name+".golden"))
		configs := nodeConfigs(t, strings.ReplaceAll(text, "%s=%s", "example.com/pool=a"))
		if len(configs) != parts {
			t.Fatalf("%s: %d NodeConfigs, want %d", name, len(configs), parts)
		}
		n := collect(t, machine(), configs...)
		if n.Join.Server != "https://test-cluster" || n.EKS.Cluster != "test-cluster" || n.Kubelet["maxPods"] != 110. || n.Labels["karpenter.sh/capacity-type"] != "on-demand" || n.Labels["example.com/pool"] != "a" {
			t.Errorf("%s: %+v", name, n)
		}
		taints, err := json.Marshal(n.Kubelet["registerWithTaints"])
		if string(taints) != `[{"effect":"NoExecute","key":"karpenter.sh/unregistered"}]` {
			t.Errorf("%s: taints %s, %v", name, taints, err)
		}
		if len(n.Skipped) != parts-1 { // the user's has the field clusterEndpoint
			t.Errorf("%s: skipped %q", name, n.Skipped)
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
		each(path, finish(t, c, m, nodeConfigs(t, text)...))
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
