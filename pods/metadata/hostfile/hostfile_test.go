package hostfile

import (
	"slices"
	"strings"
	"testing"

	"kios/pods/metadata/want"
	"kios/test/lab"
)

func TestAllowed(t *testing.T) {
	for _, name := range []string{
		"/etc/kubernetes/azure.json", "/etc/kubernetes/manifests/web.yaml", "/etc/kios/network.yaml",
		"/etc/containerd/certs.d/a/hosts.toml", "/etc/cni/net.d/x", "/etc/ssl/certs/a.pem", "/etc/sysctl.d/a.conf",
		"/etc/apparmor.d/a", "/etc/seccomp/a.json", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
		"/etc/localtime", "/etc/timezone", "/etc/machine-id", "/run/kubeadm/a.yaml", "/run/cluster-api/placeholder",
	} {
		if err := Allowed(name); err != nil {
			t.Errorf("Allowed(%s) = %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "etc/kubernetes/a", "/etc", "/etc/", "/etc/kubernetes", "/etc/kubernetes/", "/etc/kubernetes/../passwd",
		"/etc/kubernetes/./a", "/etc//kubernetes/a", "/etc/kubernetes/a\n", "/etc/kubernetes/\x00", "/etc/passwd",
		"/etc/hosts/a", "/etc/systemd/system/a.service", "/usr/bin/a", "/run/a", "/run", "/run/kios/control/hostname", "/run/kios/aws/token",
		"/run/containerd/containerd.sock", "/run/system.sock", "/run/dbus/system_bus_socket", "/var/lib/kubelet/config.yaml",
		"/etc/kubernetes/" + strings.Repeat("a", maxPath),
	} {
		if err := Allowed(name); err == nil {
			t.Errorf("Allowed(%q) = nil", name)
		}
	}
}

// What users write for other systems has a place of its own on a node.
func TestElsewhere(t *testing.T) {
	for name, want := range map[string]string{
		"/etc/default/kubelet": "write /etc/kubernetes/kubelet-flags",
		"/etc/systemd/system/containerd.service.d/http-proxy.conf": "write /etc/kios/environment.yaml",
		"/etc/modules-load.d/k8s.conf":                             "write /etc/kios/modules.yaml",
		"/usr/local/share/ca-certificates/a.crt":                   "/etc/ssl/certs",
		"/opt/bin/a":                                               "docs/cloud/user-data.md",
	} {
		if err := Allowed(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Allowed(%s) = %v, want %q", name, err, want)
		}
	}
	for _, e := range elsewhere {
		name := strings.Fields(strings.TrimSuffix(e.file, ","))[0]
		if strings.HasPrefix(name, "/") && Allowed(strings.TrimSuffix(name, ",")) != nil {
			t.Errorf("%s: %s is refused, too", e.prefix, name)
		}
		if err := Allowed(e.prefix + "x"); err == nil {
			t.Errorf("%s is allowed", e.prefix)
		}
	}
}

func TestList(t *testing.T) {
	n := &want.Node{Files: []want.File{{Path: "/run/early/a", Content: []byte("early")}}}
	l := New(n)
	for _, f := range []want.File{
		{Path: "//etc/kubernetes//a", Content: []byte("1")},
		{Path: "/run/join/a", Content: []byte("1")},
		{Path: "/run/join/a", Content: []byte("2")},
		{Path: "/run/join/a", Content: []byte("3"), Append: true},
		{Path: "/etc/kubernetes/../shadow", Content: []byte("1")},
	} {
		lab.Must(t, l.Add(f))
	}
	for name, want := range map[string]string{"/run/join//a": "23", "/run/early/a": "early"} {
		if got, found := l.Take(name); !found || string(got) != want {
			t.Errorf("Take(%s) = %q, %v, want %q", name, got, found, want)
		}
		if _, found := l.Take(name); found {
			t.Errorf("%s is still there", name)
		}
	}
	if !l.Has("/etc/kubernetes") || l.Has("/etc/kube") || !l.Contains("/etc/kubernetes/a") {
		t.Error("the list does not know what is in it")
	}
	l.Done()
	if len(n.Files) != 1 || n.Files[0].Path != "/etc/kubernetes/a" {
		t.Errorf("the node gets %v", n.Files)
	}
	if len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], "shadow") {
		t.Errorf("skipped: %q", n.Skipped)
	}
}

func TestBounds(t *testing.T) {
	n := new(want.Node)
	l := New(n)
	lab.Must(t, l.Add(want.File{Path: "/run/a/a", Content: make([]byte, maxBytes-1)}))
	l.Done()
	l = New(n)
	if l.Add(want.File{Path: "/run/a/b", Content: make([]byte, 2)}) == nil {
		t.Error("a second part may have as much as the first")
	}
	l = New(new(want.Node))
	err := error(nil)
	for range maxFiles + 1 {
		err = l.Add(want.File{Path: "/run/a/a"})
	}
	if err == nil || !slices.Contains(strings.Fields(err.Error()), "files,") {
		t.Errorf("too many files: %v", err)
	}
}
