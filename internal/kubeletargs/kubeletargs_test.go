package kubeletargs

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// node makes a root directory with the given files.
func node(t *testing.T, files map[string]string) Files {
	t.Helper()
	f := Files{Root: t.TempDir()}
	for name, text := range files {
		path := f.path(name)
		lab.WriteFile(t, path, text)
	}
	return f
}

func TestArgs(t *testing.T) {
	tests := []struct {
		name     string
		files    map[string]string
		want     string // after the fixed part
		warnings []string
	}{
		{"nothing", nil, "", nil},
		{"labels", map[string]string{"/etc/kubernetes/node-labels": "# mine\nrole: web\n\"example.com/a\": 'b'  # c\nempty:\n"},
			"--node-labels role=web,example.com/a=b,empty=", nil},
		{"labels of the first kiOS", map[string]string{"/etc/kubernetes/node-labels": "{\"a\": \"b\",\n\tthe zone : eu-1 ;\nrole=x: (y)\n}\n"},
			"--node-labels a=b,thezone=eu-1,rolex=y", nil},
		{"bad labels", map[string]string{"/etc/kubernetes/node-labels": "role web\nok: yes\nnode-role.kubernetes.io/x: y\na b: -\nc: d:e\n"},
			"--node-labels ok=yes", []string{
				`node-labels, line 1 is left out: "role web" has no colon`,
				"line 3 is left out: a kubelet may not give itself the label node-role.kubernetes.io/x",
				`line 4 is left out: "-" is no value`,
				`line 5 is left out: "d:e" is no value`,
			}},
		{"kubelet's labels", map[string]string{"/etc/kubernetes/node-labels": "node.kubernetes.io/a: b\ntopology.kubernetes.io/zone: c"},
			"--node-labels node.kubernetes.io/a=b,topology.kubernetes.io/zone=c", nil},
		{"address", map[string]string{"/etc/kubernetes/node-ip": "10.0.0.1\nsecond line\n"}, "--node-ip 10.0.0.1", nil},
		{"two addresses", map[string]string{"/etc/kubernetes/node-ip": "10.0.0.1, fd00::1"}, "--node-ip 10.0.0.1,fd00::1", nil},
		{"bad address", map[string]string{"/etc/kubernetes/node-ip": "10.0.0\n"}, "", []string{`node-ip is not used: "10.0.0" is no IP address`}},
		{"an address with a zone", map[string]string{"/etc/kubernetes/node-ip": "fe80::1%eth0\n"}, "", []string{"is no IP address"}},
		{"an address of a link", map[string]string{"/etc/kubernetes/node-ip": "fe80::1\n"}, "", []string{"node-ip is not used: fe80::1 is not an address by which"}},
		{"an address that nobody gave", map[string]string{"/etc/kubernetes/node-ip": "169.254.7.7,fd00::1\n"}, "", []string{"169.254.7.7 is not an address by which"}},
		{"loopback", map[string]string{"/etc/kubernetes/node-ip": "127.0.0.1\n"}, "", []string{"127.0.0.1 is not an address by which"}},
		{"any of IPv6", map[string]string{"/etc/kubernetes/node-ip": "::\n"}, "--node-ip ::", nil},
		{"three addresses", map[string]string{"/etc/kubernetes/node-ip": "::1,::2,::3"}, "", []string{"node-ip is not used"}},
		{"two of one family", map[string]string{"/etc/kubernetes/node-ip": "10.0.0.1,10.0.0.2"}, "", []string{"neither one address nor one of each family"}},
		{"two of one family, mapped", map[string]string{"/etc/kubernetes/node-ip": "10.0.0.1,::ffff:10.0.0.2"}, "", []string{"neither one address nor one of each family"}},
		{"cloud provider", map[string]string{"/etc/kubernetes/cloud-provider": "# the controller of the cloud sets addresses\nexternal\n"}, "--cloud-provider external", nil},
		{"no cloud provider", map[string]string{"/etc/kubernetes/cloud-provider": "# external\n\n"}, "", nil},
		{"a cloud provider that is none", map[string]string{"/etc/kubernetes/cloud-provider": "aws\n"}, "", []string{
			`cloud-provider is not used: "aws"`, "write external"}},
		{"any address of two", map[string]string{"/etc/kubernetes/node-ip": "0.0.0.0,fd00::1"}, "", []string{"holds an address that is none"}},
	}
	const fixed = "/bin/kubelet --config /usr/share/kios/kubelet.yaml --config-dir /run/kios/kubelet.d --cert-dir /var/lib/kubelet/pki --runtime-cgroups /runtime" +
		" --kubeconfig /etc/kubernetes/kubelet.conf --bootstrap-kubeconfig /etc/kubernetes/bootstrap-kubelet.conf" +
		" --image-credential-provider-config /etc/kubernetes/credential-providers.yaml --image-credential-provider-bin-dir " + ProviderLinks
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, warnings := node(t, tt.files).Args()
			if got, want := strings.Join(args, " "), strings.TrimSpace(fixed+" "+tt.want); got != want {
				t.Errorf("Args = %s\nwant   %s", got, want)
			}
			text := strings.Join(warnings, "\n")
			for _, want := range tt.warnings {
				if !strings.Contains(text, want) {
					t.Errorf("warnings = %q, want %q among them", text, want)
				}
			}
			if len(tt.warnings) == 0 && text != "" {
				t.Errorf("warnings = %q, want none", text)
			}
		})
	}
}

// With another directory in place of /etc, nothing of the user's comes from /etc but
// the kubeconfigs.
func TestArgsOfAnotherDirectory(t *testing.T) {
	f := node(t, map[string]string{
		"/etc/kubernetes/node-labels":      "role: bad\n",
		"/etc/kubernetes/node-ip":          "10.0.0.1\n",
		"/run/kept/kubernetes/node-labels": "role: good\n",
	})
	f.Etc = "/run/kept"
	args, warnings := f.Args()
	text := strings.Join(args, " ")
	for _, want := range []string{
		"--node-labels role=good", "--image-credential-provider-config /run/kept/kubernetes/credential-providers.yaml",
		"--kubeconfig /etc/kubernetes/kubelet.conf", "--bootstrap-kubeconfig /etc/kubernetes/bootstrap-kubelet.conf",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("Args = %s, want %q in it", text, want)
		}
	}
	if strings.Contains(text, "--node-ip") || len(warnings) > 0 {
		t.Errorf("Args = %s, %q, want no address and no warnings", text, warnings)
	}
}

func FuzzParseLabel(f *testing.F) {
	f.Add("a: b\n")
	f.Add("example.com/a: \"b\" # c")
	f.Fuzz(func(t *testing.T, line string) {
		label, err := parseLabel(line)
		if err == nil && (strings.ContainsAny(label, ", \n") || label != "" && !strings.Contains(label, "=")) {
			t.Errorf("parseLabel(%q) = %q, which --node-labels would not take", line, label)
		}
	})
}

func TestStandalone(t *testing.T) {
	tests := []struct {
		files map[string]string
		want  bool
	}{
		{nil, true},
		{map[string]string{"/etc/kubernetes/kubelet.conf": ""}, true}, // as a power cut leaves it
		{map[string]string{"/etc/kubernetes/kubelet.conf": "server: https://x"}, false},
		{map[string]string{"/etc/kubernetes/bootstrap-kubelet.conf": "x"}, false},
	}
	for _, tt := range tests {
		if got := node(t, tt.files).Standalone(); got != tt.want {
			t.Errorf("Standalone with %v = %v, want %v", tt.files, got, tt.want)
		}
	}
}

func TestKnown(t *testing.T) {
	const (
		conf = "/etc/kubernetes/kubelet.conf"
		cert = "/var/lib/kubelet/pki/kubelet-client-current.pem"
		own  = "server: https://x\nclient-certificate: " + cert // as the kubelet writes it
	)
	tests := []struct {
		files map[string]string
		want  bool
	}{
		{nil, false},
		{map[string]string{conf: ""}, false},
		{map[string]string{"/etc/kubernetes/bootstrap-kubelet.conf": "server: https://x"}, false},
		{map[string]string{conf: own}, false}, // it is asking for the certificate
		{map[string]string{cert: "x"}, false}, // kubelet.conf was removed
		{map[string]string{conf: own, cert: "x"}, true},
		{map[string]string{conf: "server: https://x"}, true},
	}
	for _, tt := range tests {
		if got := node(t, tt.files).Known(); got != tt.want {
			t.Errorf("Known with %v = %v, want %v", tt.files, got, tt.want)
		}
	}
}

func TestCheckTaint(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		good       bool
	}{
		{"dedicated", "gpu", true},
		{"node-role.kubernetes.io/control-plane", "", true},
		{"", "x", false},
		{"a b", "", false},
		{"a", "b c", false},
	} {
		if err := CheckTaint(tt.key, tt.value); (err == nil) != tt.good {
			t.Errorf("CheckTaint(%q, %q) = %v", tt.key, tt.value, err)
		}
	}
}

func TestDropIn(t *testing.T) {
	var doc map[string]any
	lab.Must(t, json.Unmarshal(DropIn("/a.crt", "/a.key"), &doc))
	if doc["kind"] != "KubeletConfiguration" || doc["tlsCertFile"] != "/a.crt" || doc["tlsPrivateKeyFile"] != "/a.key" {
		t.Errorf("DropIn = %v", doc)
	}
}

// The kernel refuses to execute a program with a larger argument, and people to read more
// warnings.
func TestArgsAreBounded(t *testing.T) {
	const labels = "/etc/kubernetes/node-labels"
	for name, tt := range map[string]struct {
		files map[string]string
		want  int    // warnings
		last  string // of them
	}{
		"large":     {map[string]string{labels: strings.Repeat("a: b\n", 20_000)}, 1, "at most 65536 bytes are read"},
		"at most":   {map[string]string{labels: strings.Repeat("a:\n", maxLabels/3)}, 0, ""},
		"bad lines": {map[string]string{labels: strings.Repeat("x\n", 1000)}, maxBad + 1, "984 more lines are left out"},
		"long":      {map[string]string{labels: strings.Repeat("x", 60_000)}, 1, "no colon"},
		"long key":  {map[string]string{labels: strings.Repeat("x", 60_000) + ": y"}, 1, "no key"},
		"address":   {map[string]string{"/etc/kubernetes/node-ip": strings.Repeat("x", 60_000)}, 1, "no IP address"},
		"cloud":     {map[string]string{"/etc/kubernetes/cloud-provider": strings.Repeat("x", 60_000)}, 1, "no cloud provider"},
	} {
		args, warnings := node(t, tt.files).Args()
		for _, arg := range args {
			if len(arg) >= 128<<10 { // MAX_ARG_STRLEN of execve(2)
				t.Errorf("%s: an argument has %d bytes", name, len(arg))
			}
		}
		lines := strings.Split(strings.Join(warnings, "\n"), "\n")
		if warnings == nil {
			lines = nil
		}
		if len(lines) != tt.want || tt.want > 0 && !strings.Contains(lines[tt.want-1], tt.last) || len(strings.Join(lines, "")) > 500*(maxBad+1) {
			t.Errorf("%s: %d warnings, want %d with %q last: %.1000q", name, len(lines), tt.want, tt.last, lines)
		}
	}
}

// PID 1 reads these files. What is no file must not hold it up.
func TestArgsOfNoFiles(t *testing.T) {
	f := node(t, map[string]string{"/etc/kubernetes/node-labels": ""})
	lab.Must(t, os.Remove(f.path("/etc/kubernetes/node-labels")))
	for _, name := range []string{"node-labels", "node-ip", "kubelet.conf"} {
		lab.Must(t, unix.Mkfifo(f.path("/etc/kubernetes/"+name), 0o600))
	}
	args, warnings := f.Args()
	if text := strings.Join(args, " "); strings.Contains(text, "--node-labels") || len(warnings) != 2 || !f.Standalone() {
		t.Errorf("Args = %s, %q; standalone %v; want a warning for each of two files, and standalone", text, warnings, f.Standalone())
	}
}
