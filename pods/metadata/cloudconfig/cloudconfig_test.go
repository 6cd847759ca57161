package cloudconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/formattest"
)

var machine = &want.Machine{Jinja: map[string]string{
	"ds.meta_data.local_hostname": "worker-1",
	"instance_id":                 "i-1",
	"v1.region":                   "",
	"ds.meta_data.list.1.a":       "x",
}}

func read(text string) (*want.Node, error) {
	n := new(want.Node)
	return n, Reader{Join: formattest.Join}.Read([]byte(text), machine, n)
}

func TestWriteFiles(t *testing.T) {
	formattest.Files(t, map[string]string{
		`{path: /run/a/b, content: "x\n"}`:                                                             `/run/a/b "x\n" 0 false`,
		`{path: /run/a/b, content: ""}`:                                                                `/run/a/b "" 0 false`,
		`{path: /run/a/b}`:                                                                             "error: \"/run/a/b\": it has no content",
		`{path: /run/a/b, content: }`:                                                                  "error: it has no content",
		`{path: /run/a/b, encoding: b64}`:                                                              "error: it has no content",
		`{path: /run/a/b, contents: x}`:                                                                "error: \"/run/a/b\": the field \"contents\" is unknown: did you mean \"content\"?",
		`{path: /run/a/b, content: x, permission: '0600'}`:                                             "error: did you mean \"permissions\"?",
		"path: /run/a/b\n  content: |\n  interfaces:\n    eth0: {}\n":                                  "error: \"interfaces\" is unknown",
		"path: /run/a/b\n  content: |\n  # comment\n":                                                  "error: indent the text below",
		"path: /run/a/b\n  content: >-\r\n\r\ninterfaces:\r\n  eth0:\r\n":                              "error: indent the text below",
		"content: !!str | # text\n\n  path: /run/a/b":                                                  "error: indent the text below",
		"path: /run/a/b\n  content: |\n      \n  append: true\n":                                       `/run/a/b "" 0 true`,
		"path: /run/a/b\n  content: |\n   x\n":                                                         `/run/a/b "x\n" 0 false`,
		`{path: /run/a/b, content: 12}`:                                                                `/run/a/b "12" 0 false`,
		`{path: /run/a/b, content: x, permissions: '0600', owner: 'root:root'}`:                        `/run/a/b "x" 600 false`,
		`{path: /run/a/b, content: x, permissions: 0640}`:                                              `/run/a/b "x" 640 false`,
		`{path: /run/a/b, content: x, permissions: "0o644"}`:                                           `/run/a/b "x" 644 false`,
		`{path: /run/a/b, content: x, permissions: "420"}`:                                             `/run/a/b "x" 420 false`,
		`{path: /run/a/b, content: x, permissions: '4755'}`:                                            `/run/a/b "x" 755 false`,
		`{path: /run/a/b, content: eA==, encoding: b64, append: true, defer: true}`:                    `/run/a/b "x" 0 true`,
		`{path: /run/a/b, content: eA==, encoding: BASE64}`:                                            `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: "` + formattest.Packed([]byte("x")) + `", encoding: gz+b64}`:        `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: "` + formattest.Packed([]byte("x")) + `", encoding: gzip+base64}`:   `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: !!binary eA==}`:                                                     `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: x, encoding: text/plain, source: {headers: {}}}`:                    `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: !!binary "` + formattest.Packed([]byte("x")) + `", encoding: gzip}`: `/run/a/b "x" 0 false`,
		`{path: /run/a/b, content: !!binary "/wA="}`:                                                   `/run/a/b "\xff\x00" 0 false`,
		`{path: /run/a/b, content: x, append: 'true'}`:                                                 `/run/a/b "x" 0 true`,
		`{path: /run/a/b, content: x, append: maybe}`:                                                  "error: true or false",
		`{path: //run//a/b, content: x}`:                                                               `/run/a/b "x" 0 false`,
		`{path: /etc/kubernetes/manifests/a.yaml, content: x}`:                                         `/etc/kubernetes/manifests/a.yaml "x" 0 false`,
		`{path: /run/a/b, content: x, permissions: '0999'}`:                                            "error: no permissions",
		`{path: /run/a/b, content: x, encoding: rot13}`:                                                "error: not known",
		`{path: /run/a/b, content: "*", encoding: b64}`:                                                "error: illegal base64",
		`{path: /run/a/b, content: eA==, encoding: gz+b64}`:                                            "error: EOF",
		`{path: /run/a/b, content: [x]}`:                                                               "error: list",
		`text`:                                                                                         "error: item 1",
		`{path: /etc/passwd, content: x}`:                                                              "skip: /etc/passwd",
		`{path: /etc/kubernetes/../passwd, content: x}`:                                                "skip: ..",
		`{path: /run/kios/control/hostname, content: x}`:                                               "skip: not the node's own",
		`{content: x}`: "error: item 1: it has no path",
		`{path: /run/a/b, source: {uri: "https://user:secret@example.com/secret?secret"}}`: "skip: https://example.com, and",
		`{path: /run/a/b, content: x, owner: 'etcd:etcd'}`:                                 "skip: etcd",
	}, func(item string) (*want.Node, error) { return read("write_files:\n- " + item + "\n") })
}

func TestHostname(t *testing.T) {
	for text, want := range map[string]string{
		"hostname: a":                                     "a",
		"hostname: 7":                                     "7",
		"hostname: A.example.com":                         "a",
		"fqdn: a.example.com":                             "a",
		"hostname: b\nfqdn: a.example.com":                "b",
		"hostname: b\nprefer_fqdn_over_hostname: on":      "b",
		"hostname: a\npreserve_hostname: true":            "",
		"hostname: ''":                                    "",
		"hostname:":                                       "",
		"hostname: a_b":                                   "error",
		"hostname: [a]":                                   "error",
		"fqdn: a.b\nprefer_fqdn_over_hostname: true":      "a.b",
		"hostname: a.b\nprefer_fqdn_over_hostname: 1":     "a.b",
		"hostname: a.b\nprefer_fqdn_over_hostname: 'Yes'": "a.b",
		"hostname: a.b\nprefer_fqdn_over_hostname: maybe": "error",
		"hostname: a\npreserve_hostname: 'false'":         "a",
		"hostname: a.b\nprefer_fqdn_over_hostname: y":     "a.b",
	} {
		n, err := read(text)
		if (err != nil) != (want == "error") || err == nil && n.Hostname != want {
			t.Errorf("%q: %q, %v, want %q", text, n.Hostname, err, want)
		}
	}
}

func TestOthers(t *testing.T) {
	n, err := read(`#cloud-config
ntp: {enabled: true, servers: [time.example.com, 192.0.2.1], pools: [pool.example.com]}
ca_certs: {trusted: ["A\n", " B"], remove_defaults: true}
ca-certs: {trusted: C}
users: [default]
packages: [vim]
zzz: 1
output: {all: x}
`)
	lab.Must(t, err)
	var got []string
	for _, f := range n.Files {
		got = append(got, formattest.Describe(f))
	}
	wanted := []string{
		`/etc/kios/time.yaml "pools:\n- pool.example.com\nservers:\n- time.example.com\n- 192.0.2.1\n" 0 false`,
		`/etc/ssl/certs/cloud-config-1.pem "A\n" 0 false`,
		`/etc/ssl/certs/cloud-config-2.pem "B\n" 0 false`,
		`/etc/ssl/certs/cloud-config-3.pem "C\n" 0 false`,
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
	all := strings.Join(n.Skipped, "\n")
	if len(n.Skipped) != 4 || !strings.Contains(all, "remove_defaults") || !strings.Contains(all, `"users": a node has no users`) || !strings.Contains(all, `"zzz"`) {
		t.Errorf("skipped: %s", all)
	}
	n, err = read("write_file: []\nrun-cmd: [ls]\nwrite-files: [{}]\n")
	if err != nil || len(n.Skipped) != 2 || !strings.Contains(n.Skipped[0], `"run-cmd": a node does not do it: did you mean "runcmd"?`) || !strings.Contains(n.Skipped[1], `did you mean "write_files"?`) {
		t.Errorf("fields with a typing mistake: %q, %v", n.Skipped, err)
	}
	n, err = read("ntp: {server: [a]}\n")
	if err != nil || len(n.Skipped) != 1 || n.Skipped[0] != `cloud-config: ntp: the field "server" is unknown: did you mean "servers"?` {
		t.Errorf("ntp with a typing mistake: %q, %v", n.Skipped, err)
	}
	if _, err = read("ca_certs:\n  trusted:\n  - |\n"); err == nil || !strings.Contains(err.Error(), "item 1 is empty") {
		t.Errorf("a certificate that is empty: %v", err)
	}
	n, err = read("ntp: {enabled: false, servers: [a]}\n")
	if err != nil || len(n.Files) != 0 {
		t.Errorf("ntp that is not enabled: %v, %v", n.Files, err)
	}
}

// A mistake in one field does not keep the others from being read.
func TestMistakesAreApart(t *testing.T) {
	n, err := read("ntp: 7\nhostname: a\nwrite_files: [{path: /run/a/b, content: {}}, {path: /run/a/c, content: x}]\nruncmd: ls\n")
	if err == nil || n.Hostname != "a" || len(n.Files) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	n, err = read("runcmd:\n- echo a: b\n- kubeadm join 192.0.2.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash H\n")
	if err == nil || n.Join == nil || !strings.Contains(err.Error(), "item 1") {
		t.Errorf("%+v, %v", n, err)
	}
	n, err = read("packages: [a]\n---\npackages: [b]\n")
	if err != nil || len(n.Skipped) != 2 || !strings.Contains(n.Skipped[0], `"---" and what follows it`) {
		t.Errorf("two documents: %q, %v", n.Skipped, err)
	}
	n, err = read("hostname: a\nhostname: b\n")
	if err != nil || n.Hostname != "b" || len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], `line 2: the field "hostname" is there twice`) {
		t.Errorf("a field that is there twice: %q, %v", n.Skipped, err)
	}
	n, err = read("package_update: false\nusers: []\nmounts:\nntp: {enabled: true, servers: , pools: null}\nca_certs: {trusted: }\n")
	if err != nil || len(n.Skipped)+len(n.Files) != 0 {
		t.Errorf("what asks for nothing: %+v, %v", n, err)
	}
	for _, text := range []string{"- a", "a: [", "\x00"} {
		if _, err := read(text); err == nil {
			t.Errorf("%q is no mistake", text)
		}
	}
	if n, err := read("#cloud-config\n"); err != nil || len(n.Skipped) != 0 {
		t.Errorf("an empty one: %+v, %v", n, err)
	}
}

func TestRun(t *testing.T) {
	n, err := read(`write_files: [{path: /run/kubeadm/a.yaml, content: config}, {path: /tmp/b.yaml, content: config}]
bootcmd: [[modprobe, br_netfilter], null, [], 7]
runcmd:
- [sh, -c, "kubeadm join --config /run/kubeadm/a.yaml && echo success > /run/cluster-api/done"]
- [/usr/bin/kubeadm, join, --config, /tmp/b.yaml]
`)
	if err != nil || n.Join == nil || string(n.Join.Kubeconfig) != "config" || n.Joined != "/run/cluster-api/done" || len(n.Files) != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	if got := strings.Join(n.Skipped, "\n"); len(n.Skipped) != 2 || !strings.Contains(got, `"modprobe"`) {
		t.Errorf("skipped: %s", got)
	}
}

func TestJinja(t *testing.T) {
	const header = "## template: jinja\n#cloud-config\n"
	for text, want := range map[string]string{
		"{{ ds.meta_data.local_hostname }}":                             "worker-1",
		`{{ds.meta_data["local_hostname"]}}`:                            "worker-1",
		`{{ ds['meta_data']['local-hostname'] }}`:                       "worker-1",
		"{{- instance_id -}}.":                                          "i-1.",
		"{ { {{ instance_id }}{{instance_id}} } {":                      "{ { i-1i-1 } {",
		"a{{ v1.region }}b":                                             "ab",
		"{{ ds.meta_data.hostname }}":                                   "error: ds.meta_data.hostname",
		"{{ instance_id | upper }}":                                     "I-1",
		"{{instance_id|upper|lower}}":                                   "i-1",
		`{{ ds.meta_data.local_hostname.split("-")[1] }}`:               "1",
		`{{ ds["meta_data"]["local_hostname"].split('.')[0].upper() }}`: "WORKER-1",
		`{{ instance_id.split('-')[2] }}`:                               "error: instance_id",
		`{{ instance_id.split('-') }}`:                                  "error: only names",
		`{{ instance_id.split()[0] }}`:                                  "error: only names",
		`{{ a.b | default('c') }}{{ instance_id | default("c") }}{{ a.split(".")[0] | default("d") | trim }}`: "ci-1d",
		"{{ instance_id | replace('a', 'b') }}": "error: only names",
		"{% if a %}":                            "error: only names",
		"a{# a {{ b #}b":                        "ab",
		"{% raw %}{{ .Name }}{% if %}{% endraw %}{{instance_id}}": "{{ .Name }}{% if %}i-1",
		"{%- raw -%}{{":                      "error: only names",
		"{# a":                               "error: only names",
		"{{ 'a' }}{{ '{{' }} b {{ \"}}\" }}": "a{{ b }}",
		"{{ ds.meta_data.list[1].a }}{{ ds['meta_data']['list'][1]['a'] }}": "xx",
		"{{ ds.meta_data.list[2].a }}":                                      "error: ds.meta_data.list.2.a",
		"{{":                                                                "error: only names",
		"{{ a":                                                              "error: only names",
	} {
		n, err := read(header + "write_files:\n- path: /run/a/b\n  content: |-\n    " + text + "\n")
		if message, failed := strings.CutPrefix(want, "error: "); failed {
			if err == nil || !strings.Contains(err.Error(), message) || len(n.Files) != 0 {
				t.Errorf("%q: %v, want %q", text, err, message)
			}
			continue
		}
		if err != nil || len(n.Files) != 1 || string(n.Files[0].Content) != want {
			t.Errorf("%q: %+v, %v, want %q", text, n.Files, err, want)
		}
	}
	if n, err := read("hostname: a\nx: '{{ a }}'\n"); err != nil || n.Hostname != "a" {
		t.Errorf("what is no template: %v", err)
	}
	if n, err := read("## Template: Jinja\r\n#cloud-config\r\nhostname: {{ instance_id }}\r\n"); err != nil || n.Hostname != "i-1" {
		t.Errorf("in capitals: %+v, %v", n, err)
	}
	if _, err := read("## template: mako\nhostname: a\n"); err == nil {
		t.Error("another kind of template is read")
	}
}

// TestClusterAPI reads what Cluster API renders; upstream/clusterapi makes the files.
func TestClusterAPI(t *testing.T) {
	for _, version := range []string{"v1.30.0", "v1.37.0"} {
		text, err := os.ReadFile(filepath.Join("testdata/clusterapi/worker." + version + ".txt"))
		lab.Must(t, err)
		n, err := read(string(text))
		lab.Must(t, err)
		config := string(n.Join.Kubeconfig)
		for _, wanted := range []string{"kind: JoinConfiguration", "name: 'worker-1'", "provider-id", "openstack:///'i-1'", "abcdef.0123456789abcdef"} {
			if !strings.Contains(strings.ReplaceAll(config, "name: worker-1", "name: 'worker-1'"), wanted) {
				t.Errorf("%s: kubeadm's configuration has no %s:\n%s", version, wanted, config)
			}
		}
		if n.Joined != "/run/cluster-api/bootstrap-success.complete" {
			t.Errorf("%s: the file of success is %q", version, n.Joined)
		}
		var paths []string
		for _, f := range n.Files {
			paths = append(paths, fmt.Sprintf("%s %o %d", f.Path, f.Mode, len(f.Content)))
		}
		wanted := []string{"/etc/kubernetes/azure.json 644 30", "/etc/sysctl.d/90-user.conf 600 26", "/run/cluster-api/placeholder 640 185", "/etc/kios/time.yaml 0 49"}
		if diff := cmp.Diff(wanted, paths); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
		if got, wanted := string(n.Files[0].Content), "{\"cloud\": \"AzurePublicCloud\"}\n"; got != wanted {
			t.Errorf("%s: azure.json is %q, want %q", version, got, wanted)
		}
		for _, wanted := range []string{"/usr/local/bin/tune", `"modprobe"`, `"hostnamectl"`, `"systemctl"`, `"users"`, `"mounts"`, `"disk_setup"`, `"fs_setup"`} {
			if !strings.Contains(strings.Join(n.Skipped, "\n"), wanted) {
				t.Errorf("%s: %s is not named:\n%s", version, wanted, strings.Join(n.Skipped, "\n"))
			}
		}
	}
}

// The text with all that there is has all of it.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(lab.Root(t), "docs/cloud/user-data.md"))
	lab.Must(t, err)
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(text, "```\n")
	if !found {
		t.Fatal("the page has no text")
	}
	n, err := read(text)
	if err != nil || len(n.Skipped) != 0 || len(n.Files) != 5 || n.Join == nil || n.Hostname != "worker-1" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestPlainClusterAPI(t *testing.T) {
	text, err := os.ReadFile("testdata/clusterapi/plain.v1.37.0.txt")
	lab.Must(t, err)
	n, err := read(string(text))
	if err != nil || n.Join == nil || len(n.Skipped) != 0 || n.Joined == "" {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestMemory holds what a small text may become.
func TestMemory(t *testing.T) {
	text := "x: &x '" + formattest.Packed(make([]byte, 17<<20)) + "'\nwrite_files:\n" + strings.Repeat("- {path: /run/a/b, content: *x, encoding: gz+b64}\n", 20)
	var err error
	if used := lab.Allocated(func() { _, err = read(text) }); err == nil || used > 192<<20 {
		t.Errorf("20 files of 17 MiB of zeros: %d MiB are used, %v", used>>20, err)
	}
}

func FuzzRead(f *testing.F) {
	formattest.Seed(f, "testdata/clusterapi/*.txt")
	f.Add([]byte("write_files: [{path: /run/a/b, content: !!binary eA==, permissions: 0644, encoding: gz+b64}]\nntp: {servers: [a]}\nfqdn: a.b\n"))
	f.Add([]byte("a: &a [!!binary /wA=]\nwrite_files: [{path: /run/a/b, content: !!binary /wA=}]\nb: [*a, *a]\nb: no\n"))
	f.Add([]byte("## template: jinja\n{# a #}{% raw %}{{{% endraw %}{{ instance_id.split('-')[0] | default('a') | upper }}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		formattest.Bounded(t, text, uint64(128<<20+5000*len(text)), func(text []byte) (*want.Node, error) { return read(string(text)) })
	})
}
