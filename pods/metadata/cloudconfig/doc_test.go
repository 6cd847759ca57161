package cloudconfig

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/internal/kubeletargs"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/want"
	"kios/pods/network/netconf"
	"kios/test/lab"
)

// The texts that users paste work, and so do the files that they make.
func TestDocumentation(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(lab.Root(t), "docs/cloud/*.md"))
	lab.Must(t, err)
	tried := 0
	for _, page := range pages {
		for _, text := range examples(lab.ReadFile(t, page)) {
			tried++
			n := new(want.Node)
			text = strings.ReplaceAll(text, "sha256:HASH", "sha256:"+strings.Repeat("0a", 32))
			err := Reader{Join: kubeadm.Read}.Read([]byte(text), machine, n)
			if err != nil || len(n.Skipped) > 0 {
				t.Errorf("%s: %v, skipped %q of:\n%s", page, err, n.Skipped, text)
			}
			if strings.Contains(text, "kubeadm join") && n.Join == nil {
				t.Errorf("%s: no node joins by:\n%s", page, text)
			}
			checkFiles(t, n.Files)
		}
	}
	if tried < 5 {
		t.Errorf("the pages have %d texts", tried)
	}
}

// checkFiles has their readers read them.
func checkFiles(t *testing.T, files []want.File) {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		lab.WriteFile(t, root+f.Path, string(f.Content))
		if f.Path == "/etc/kios/network.yaml" {
			if _, mistakes := netconf.Parse(f.Path, f.Content); len(mistakes) > 0 {
				t.Error(mistakes)
			}
		}
		if strings.HasPrefix(f.Path, "/etc/kubernetes/config.d/") {
			checkKubelet(t, f)
		}
	}
	if _, warnings := (kubeletargs.Files{Root: root}).Args(); len(warnings) > 0 {
		t.Error(warnings)
	}
}

// checkKubelet looks at what the kubelet refuses a file for, and a newcomer leaves out.
func checkKubelet(t *testing.T, f want.File) {
	t.Helper()
	var head struct{ APIVersion, Kind string }
	if err := bounded.YAML(f.Content, &head); err != nil || head.APIVersion != "kubelet.config.k8s.io/v1beta1" || head.Kind != "KubeletConfiguration" {
		t.Errorf("%s: %v: the apiVersion is %q, and the kind %q", f.Path, err, head.APIVersion, head.Kind)
	}
}

// examples returns the cloud-configs of a text, also those within others.
func examples(text string) (all []string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		indent, found := strings.CutSuffix(line, "#cloud-config")
		if !found || strings.TrimSpace(indent) != "" {
			continue
		}
		rest := lines[i:]
		end := slices.IndexFunc(rest, func(l string) bool {
			return strings.HasPrefix(l, "```") || l != "" && !strings.HasPrefix(l, indent)
		})
		all = append(all, strings.ReplaceAll("\n"+strings.Join(rest[:end], "\n"), "\n"+indent, "\n")[1:])
	}
	return all
}
