package joincmd

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"kios/pods/metadata/hostfile"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][]command{
		"":                          nil,
		"a b":                       {{words: []string{"a", "b"}}},
		"a&&b;c||d|e&f\ng (h)":      {{words: []string{"a"}}, {words: []string{"b"}}, {words: []string{"c"}}, {words: []string{"d"}}, {words: []string{"e"}}, {words: []string{"f"}}, {words: []string{"g"}}, {words: []string{"h"}}},
		`a 'b "c' "d \"e' \x" f\ g`: {{words: []string{"a", `b "c`, `d "e' \x`, "f g"}}},
		"a \\\n  b 'c":              {{words: []string{"a", "b", "c"}}},
		"a ''":                      {{words: []string{"a", ""}}},
		"a b#c # d\ne":              {{words: []string{"a", "b#c"}}, {words: []string{"e"}}},
		"a >/x 2>/y 1>>/z <in b":    {{words: []string{"a", "b"}, output: "/z"}},
		"a 2>&1 >/x":                {{words: []string{"a"}, output: "/x"}},
		"a>/x":                      {{words: []string{"a"}, output: "/x"}},
		"a \\":                      {{words: []string{"a"}}},
	} {
		if got := split(text); !reflect.DeepEqual(got, want) {
			t.Errorf("split(%q) = %q, want %q", text, got, want)
		}
	}
}

const plainJoin = "kubeadm join --config /run/kubeadm/join.yaml && echo success > /run/cluster-api/bootstrap-success.complete\n"

// read reads a script beside which there is a file with the text "config".
func read(t *testing.T, script string) (*want.Node, error) {
	t.Helper()
	n := new(want.Node)
	files := hostfile.New(n)
	lab.Must(t, files.Add(want.File{Path: "/run/kubeadm/join.yaml", Content: []byte("config")}))
	if strings.Contains(script, "/opt/join.sh") {
		lab.Must(t, files.Add(want.File{Path: "/opt/join.sh", Content: []byte("#!/bin/sh\nset -e\n/opt/join.sh\n" + plainJoin)}))
	}
	r := &Reader{Files: files, Node: n, Join: func(text []byte, _ *want.Machine, n *want.Node) error {
		if string(text) != "config" {
			return errors.New("no config")
		}
		n.Join = &want.Join{Server: "config"}
		return nil
	}}
	err := r.Script(script)
	r.Done()
	files.Done()
	return n, err
}

func TestConfig(t *testing.T) {
	const done = "/run/cluster-api/bootstrap-success.complete"
	for _, script := range []string{
		"kubeadm join --config /run/kubeadm/join.yaml --v 5 && echo success > " + done,
		"kubeadm join --config=/run/kubeadm/join.yaml  && echo success > " + done,
		"#!/bin/bash\nset -e\n\nkubeadm join --config /run/kubeadm/join.yaml --v=5\nmkdir -p /run/cluster-api && echo success > " + done + "\nmv /etc/kubeadm.yml /tmp/\n",
		"sudo -E timeout 300 /usr/bin/kubeadm join --config /run/kubeadm/join.yaml; echo success >" + done,
		"LANG=C bash -xec 'kubeadm join --config /run/kubeadm/join.yaml && echo success > " + done + "'",
		"if ! kubeadm join --config /run/kubeadm/join.yaml; then exit 1; fi; echo success > " + done,
		"bash -euo pipefail -c 'kubeadm join --config /run/kubeadm/join.yaml && echo success > " + done + "'",
		"kubeadm join \\\r\n  --config /run/kubeadm/join.yaml\r\necho success > " + done + "\r\n",
		"for i in 1 2 3; do kubeadm join --config /run/kubeadm/join.yaml && break; sleep 5; done; echo success > " + done,
		"kubeadm join --config /run/kubeadm/join.yaml || kubeadm join --config /run/kubeadm/join.yaml --v=5; echo success > " + done,
		"env LANG=C kubeadm join --config /run/kubeadm/join.yaml && echo success > " + done,
		"cloud-init-per once join sh -c 'kubeadm join --config /run/kubeadm/join.yaml && echo success > " + done + "'",
		"/opt/join.sh", "sudo bash -x /opt/join.sh", ". /opt/join.sh",
	} {
		n, err := read(t, script)
		if err != nil || n.Join == nil || n.Joined != done || len(n.Files) != 0 || len(n.Skipped) != 0 {
			t.Errorf("Script(%q) = %+v, %v", script, n, err)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, wanted := range map[string]string{
		"192.0.2.1:6443 --token T --discovery-token-ca-cert-hash H --node-name worker-1":                            `"discovery":{"bootstrapToken":{"token":"T","apiServerEndpoint":"192.0.2.1:6443","caCertHashes":["H"]},"tlsBootstrapToken":"T"},"nodeRegistration":{"name":"worker-1"}}`,
		"--discovery-token-unsafe-skip-ca-verification a:1 -v 5 --discovery-token=D --token T":                      `"discovery":{"bootstrapToken":{"token":"D","apiServerEndpoint":"a:1","unsafeSkipCAVerification":true},"tlsBootstrapToken":"T"},"nodeRegistration":{}}`,
		"a:1 --discovery-token-ca-cert-hash H,I --discovery-token-ca-cert-hash J --tls-bootstrap-token S --token T": `"discovery":{"bootstrapToken":{"token":"T","apiServerEndpoint":"a:1","caCertHashes":["H","I","J"]},"tlsBootstrapToken":"S"},"nodeRegistration":{}}`,
		"--discovery-file /run/a/b": `"discovery":{"file":{"kubeConfigPath":"/run/a/b"}},"nodeRegistration":{}}`,
	} {
		n := new(want.Node)
		r := &Reader{Files: hostfile.New(n), Node: n, Join: func(text []byte, _ *want.Machine, n *want.Node) error {
			n.Join = &want.Join{Kubeconfig: text}
			return nil
		}}
		wanted = `{"apiVersion":"kubeadm.k8s.io/v1beta4","kind":"JoinConfiguration",` + wanted
		if err := r.Script("kubeadm join " + args); err != nil || n.Join == nil || string(n.Join.Kubeconfig) != wanted {
			t.Errorf("kubeadm join %s: %+v, %v, want %s", args, n.Join, err, wanted)
		}
	}
}

func TestEnvsubst(t *testing.T) {
	m := &want.Machine{Hostname: "worker-1", ID: "i-1", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}}
	for text, wanted := range map[string]string{
		"${COREOS_EC2_HOSTNAME} $COREOS_EC2_IPV4_LOCAL x$$ $1": "worker-1 192.0.2.1 x$$ $1",
		"openstack:///${COREOS_OPENSTACK_INSTANCE_UUID}":       "openstack:///i-1",
		"${COREOS_EC2_REGION}":                                 "error: COREOS_EC2_REGION",
		"${HOME}":                                              "error: HOME",
	} {
		n := new(want.Node)
		r := &Reader{Files: hostfile.New(n), Node: n, Machine: m, Join: func(text []byte, _ *want.Machine, n *want.Node) error {
			n.Join = &want.Join{Kubeconfig: text}
			return nil
		}}
		lab.Must(t, r.Files.Add(want.File{Path: "/etc/kubeadm.yml", Content: []byte(text)}))
		err := r.Script("envsubst < /etc/kubeadm.yml > /etc/kubeadm.yml.tmp\nmv /etc/kubeadm.yml.tmp /etc/kubeadm.yml\nkubeadm join --config /etc/kubeadm.yml\nmv /etc/kubeadm.yml /tmp/")
		if message, failed := strings.CutPrefix(wanted, "error: "); failed {
			if err == nil || !strings.Contains(err.Error(), message) || n.Join != nil {
				t.Errorf("%q: %v, want %q", text, err, message)
			}
			continue
		}
		if err != nil || string(n.Join.Kubeconfig) != wanted || len(n.Skipped) != 0 {
			t.Errorf("%q: %+v, %q, %v, want %q", text, n.Join, n.Skipped, err, wanted)
		}
	}
}

func TestMistakes(t *testing.T) {
	const plain = "kubeadm join 192.0.2.1:6443 --token abcdef.0123456789abcdef "
	for script, want := range map[string]string{
		"kubeadm init --config /run/kubeadm/join.yaml":         "no control plane",
		plain + "--control-plane":                              "no control plane",
		plain:                                                  "--discovery-token-ca-cert-hash",
		"kubeadm join 192.0.2.1:6443 --token $TOKEN":           `with "--token" is for a shell`,
		"kubeadm join hush$A --token=T":                        "with no flag is for a shell",
		"kubeadm join --v 5 --token=hush$A":                    `with "--token" is for a shell`,
		"kubeadm join --config /run/other.yaml":                "not in the user data",
		strings.Repeat("sh -c \"", 9) + "x":                    "",
		"sh -c \"sh -c 'sh -c \\\"sh -c \\\"a\\\" \\\"' \" ":   "",
		"kubeadm join --config /run/kubeadm/join.yaml\x00":     "not in the user data",
		"kubeadm join phase preflight --config /run/join.yaml": "",
	} {
		n, err := read(t, script)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Script(%q) = %v, want %q", script, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("Script(%q) = %v, which has a secret", script, err)
		}
		if n.Join != nil {
			t.Errorf("Script(%q) joins %+v", script, n.Join)
		}
	}
}

// A script that calls itself is read once. One in a place of the node's stays there, for pods.
func TestScripts(t *testing.T) {
	n := new(want.Node)
	r := &Reader{Node: n, Files: hostfile.New(n), Join: func([]byte, *want.Machine, *want.Node) error { return nil }}
	again := strings.Repeat("/run/a/b; sh /run/a/b;", 10_000)
	lab.Must(t, r.Files.Add(want.File{Path: "/run/a/b", Content: []byte(again)}))
	begun := time.Now()
	if err := r.Script(again); err != nil || time.Since(begun) > 10*time.Second {
		t.Errorf("%v, after %v", err, time.Since(begun))
	}
	r.Files.Done()
	if len(n.Files) != 1 || len(n.Skipped) != 0 {
		t.Errorf("%+v", n)
	}
}

// What commands are told is secret: it is not for the log.
func TestOthers(t *testing.T) {
	n, err := read(t, "curl -H 'secret' https://x; PASSWORD=secret login >/secret\nexport TOKEN=secret; a.b=secret; echo kubeadm join --config secret; echo; a; b; c; d; e; f; g")
	lab.Must(t, err)
	const wanted = `commands: "curl", "login", "export", "a.b", "echo", "a", "b", "c" and 4 more: a node runs none`
	if len(n.Skipped) != 1 || n.Skipped[0] != wanted || n.Join != nil {
		t.Errorf("skipped %q, want %q", n.Skipped, wanted)
	}
	if n, err := read(t, "/etc/eks/bootstrap.sh dev --secret"); err != nil || len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], "write a NodeConfig") {
		t.Errorf("bootstrap.sh: %q, %v", n.Skipped, err)
	}
	r := &Reader{Node: n}
	for range maxNamed + 3 {
		lab.Must(t, r.Command([]string{"ls"}))
	}
	r.Done()
	if got := n.Skipped[len(n.Skipped)-1]; len(n.Skipped) != maxNamed+2 || !strings.HasPrefix(got, "3 more") {
		t.Errorf("%d lines, the last is %q", len(n.Skipped), got)
	}
	if n, _ := read(t, "echo success > /run/cluster-api/x"); n.Joined != "" {
		t.Errorf("without kubeadm join, %s is written", n.Joined)
	}
	for _, after := range []string{"echo success > /run/kios/control/hostname", "echo 192.0.2.1 a > /run/a/b", "echo success > /etc/hosts"} {
		if n, _ := read(t, "kubeadm join --config /run/kubeadm/join.yaml && "+after); n.Joined != "" || len(n.Skipped) != 1 {
			t.Errorf("%s: %s is written, %q", after, n.Joined, n.Skipped)
		}
	}
}

func FuzzScript(f *testing.F) {
	f.Add("kubeadm join --config /run/kubeadm/join.yaml --v 5 && echo success > /run/cluster-api/x")
	f.Add("sh -c \"a 'b' \\\"c\" >&2 2>/x <<EOF # d")
	f.Fuzz(func(t *testing.T, script string) {
		n, _ := read(t, script)
		if len(n.Skipped) > 2 {
			t.Errorf("%d lines of skipped commands", len(n.Skipped))
		}
	})
}

// A script of 1 MiB has room for a hundred thousand programs, and a configuration for as many
// names: neither takes long, or much memory.
func TestMany(t *testing.T) {
	var script strings.Builder
	programs := 0
	for ; script.Len() < maxText-20; programs++ {
		fmt.Fprintf(&script, "%x;", programs)
	}
	n, begun := new(want.Node), time.Now()
	r := &Reader{Node: n}
	lab.Must(t, r.Script(script.String()))
	if took := time.Since(begun); took > 10*time.Second || !strings.HasSuffix(n.Skipped[0], fmt.Sprintf("and %d more: a node runs none", programs-maxOnLine)) {
		t.Errorf("%d programs take %v: %q", programs, took, n.Skipped)
	}
	m := &want.Machine{Region: strings.Repeat("a", 512)}
	for _, names := range []int{4 << 10, maxText / 10, 2 << 20} {
		var err error
		if used := lab.Allocated(func() { _, err = envsubst([]byte(strings.Repeat("$X_REGION ", names)), m) }); err == nil || used > 64<<20 {
			t.Errorf("%d names take %d MiB: %v", names, used>>20, err)
		}
	}
	// What counts is the length of the values, not that of their names.
	out, err := envsubst([]byte(strings.Repeat("$X_REGION ", 1500)+"${"+strings.Repeat("A", 700_000)+"_REGION}"), m)
	if want := 1500*513 + 512; err != nil || len(out) != want {
		t.Errorf("%d bytes, %v, want %d", len(out), err, want)
	}
}
