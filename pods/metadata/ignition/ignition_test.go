package ignition

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
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

// golden is what upstream/clusterapi makes.
const golden = "../cloudconfig/testdata/clusterapi"

func read(text string) (*want.Node, error) {
	n := new(want.Node)
	return n, Reader{Join: formattest.Join}.Read([]byte(text), new(want.Machine), n)
}

func TestFiles(t *testing.T) {
	packed := formattest.Packed([]byte("x y\n"))
	formattest.Files(t, map[string]string{
		`"contents": {"source": "data:,x%20y%0A"}`:                                             `/run/a/b "x y\n" 0 false`,
		`"contents": {"source": "data:text/plain;charset=utf-8;base64,eCB5Cg=="}, "mode": 384`: `/run/a/b "x y\n" 600 false`,
		`"contents": {"source": "DATA:;base64,eCB5Cg%3D%3D"}, "mode": 2541, "overwrite": true`: `/run/a/b "x y\n" 755 false`,
		`"contents": {"source": "data:;base64,` + packed + `", "compression": "gzip"}`:         `/run/a/b "x y\n" 0 false`,
		`"contents": {"source": "data:,+"}`:                                                    `/run/a/b "+" 0 false`,
		`"contents": {"source": "data:,"}`:                                                     `/run/a/b "" 0 false`,
		`"contents": {"source": ""}, "overwrite": false`:                                       `/run/a/b "" 0 false`,
		`"overwrite": false`:                                       "error: file \"/run/a/b\": it has no contents.source",
		`"contents": {}`:                                           "error: it has no contents.source",
		`"append": [{"compression": "gzip"}]`:                      "error: it has no contents.source",
		`"content": {"source": "data:,x"}`:                         "error: \"/run/a/b\": the field \"content\" is unknown: did you mean \"contents\"?",
		`"contents": {"source": "data:,x"}, "permissions": "0600"`: "error: \"permissions\" is unknown",
		`"mode": "0600"`:                                           "error: must be number",
		`"path": "", "contents": {"source": "data:,x"}`:            "error: storage.files: item 1: it has no path",
		`"filesystem": "root", "contents": {"source": "data:,x"}, "append": true`: `/run/a/b "x" 0 true`,
		`"append": [{"source": "data:,x"}]`:                                       `/run/a/b "x" 0 true`,
		hashed("sha256", fmt.Sprintf("%x", sha256.Sum256([]byte("x")))):           `/run/a/b "x" 0 false`,
		hashed("sha512", fmt.Sprintf("%X", sha512.Sum512([]byte("x")))):           `/run/a/b "x" 0 false`,
		hashed("sha512", fmt.Sprintf("%x", sha512.Sum512([]byte("y")))):           "error: another hash",
		hashed("sha1", "00"):                                                                             "error: sha256 or sha512",
		hashed("sha256", "zz"):                                                                           "error: hexadecimal",
		`"contents": {"inline": "x"}`:                                                                    "error: with butane",
		`"contents": {"local": "x"}`:                                                                     "error: with butane",
		`"contents": {"source": "data:x"}`:                                                               "error: comma",
		`"contents": {"source": "data:,%zz"}`:                                                            "error: escape",
		`"contents": {"source": "data:;base64,*"}`:                                                       "error: base64",
		`"contents": {"source": "data:,x", "compression": "xz"}`:                                         "error: use gzip",
		`"contents": {"source": "data:,x", "compression": "gzip"}`:                                       "error: EOF",
		`"contents": {"source": "https://example.com/?secret"}`:                                          "skip: elsewhere",
		`"append": [{"source": "s3://secret/x"}]`:                                                        "skip: elsewhere",
		`"filesystem": "data", "contents": {"source": "data:,x"}`:                                        "skip: \"data\"",
		`"contents": {"source": "data:,x"}, "user": {"name": "etcd"}`:                                    "skip: owner",
		`"contents": {"source": "data:,x"}, "user": {"id": 500}`:                                         "skip: owner",
		`"contents": {"source": "data:,x"}, "user": {"id": 0, "name": "root"}, "group": {"name": "tty"}`: `/run/a/b "x" 0 false`,
	}, func(item string) (*want.Node, error) {
		return read(`{"ignition": {"version": "3.5.0"}, "storage": {"files": [{"path": "/run/a/b", ` + item + `}]}}`)
	})
}

func hashed(kind, hash string) string {
	return fmt.Sprintf(`"contents": {"source": "data:,x", "verification": {"hash": "%s-%s"}}`, kind, hash)
}

func TestOthers(t *testing.T) {
	n, err := read(`{"ignition": {"version": "3.4.0", "config": {"merge": [{"source": "https://x"}], "replace": {"source": null}}},
"storage": {"files": [{"path": "/run/a/b", "contents": {"source": "data:,"}}, {"path": "/opt/bin/x", "contents": {"source": "data:,"}}],
  "directories": [{"path": "/run/a"}, {"path": "/opt/x"}], "links": [{"path": "/etc/l", "target": "x"}], "disks": [{}], "filesystems": [{}], "raid": [{}], "luks": [{}]},
"systemd": {"units": [{"name": "a.service", "enabled": true}, {"name": "off.service", "enabled": false}, {"name": "masked.service", "mask": true}]},
"passwd": {"users": [{"name": "core"}]}, "kernelArguments": {"shouldExist": ["a"]}, "unknown": {}}`)
	lab.Must(t, err)
	all := strings.Join(n.Skipped, "\n")
	for _, wanted := range []string{"/opt/bin/x", `directory "/opt/x"`, `"/etc/l"`, "storage.disks", "storage.filesystems", "storage.raid", "storage.luks", "a.service", "passwd", "kernelArguments", "ignition.config"} {
		if !strings.Contains(all, wanted) {
			t.Errorf("%s is not named:\n%s", wanted, all)
		}
	}
	if len(n.Skipped) != 11 {
		t.Errorf("%d lines:\n%s", len(n.Skipped), all)
	}
	for _, text := range []string{`{}`, `{"ignition": {"version": "4.0.0"}}`, `{"ignition": {"version": "3.0.0"}, "storage": 7}`, `{`, strings.Repeat(" ", 1<<20) + "{}"} {
		if _, err := read(text); err == nil {
			t.Errorf("%.40s is no mistake", text)
		}
	}
}

// TestClusterAPI reads what Cluster API renders, which is of version 2.
func TestClusterAPI(t *testing.T) {
	for _, version := range []string{"v1.30.0", "v1.37.0"} {
		text, err := os.ReadFile(filepath.Join(golden, "ignition."+version+".txt"))
		lab.Must(t, err)
		check(t, string(text))
		check(t, version3(t, text))
	}
}

func check(t *testing.T, text string) {
	t.Helper()
	n, err := read(text)
	lab.Must(t, err)
	if n.Join == nil || !strings.Contains(string(n.Join.Kubeconfig), "kind: JoinConfiguration") || n.Joined != "/run/cluster-api/bootstrap-success.complete" {
		t.Errorf("%+v", n)
	}
	if len(n.Files) != 1 || formattest.Describe(n.Files[0]) != `/etc/kubernetes/cloud.conf "[Global]\n" 600 false` {
		t.Errorf("files: %+v", n.Files)
	}
	all := strings.Join(n.Skipped, "\n")
	for _, wanted := range []string{`"systemctl"`, "passwd", "/etc/sudoers.d/capi", "/etc/ntp.conf", "ntpd.service", "docker.service"} {
		if !strings.Contains(all, wanted) {
			t.Errorf("%s is not named:\n%s", wanted, all)
		}
	}
	if len(n.Skipped) != 6 || strings.Contains(all, "0123456789abcdef") {
		t.Errorf("%d lines:\n%s", len(n.Skipped), all)
	}
}

// version3 is the same configuration as providers convert it.
func version3(t *testing.T, text []byte) string {
	t.Helper()
	var config struct {
		Ignition map[string]any              `json:"ignition"`
		Storage  map[string][]map[string]any `json:"storage"`
		Systemd  json.RawMessage             `json:"systemd"`
		Passwd   json.RawMessage             `json:"passwd"`
	}
	lab.Must(t, json.Unmarshal(text, &config))
	config.Ignition = map[string]any{"version": "3.4.0"}
	for _, f := range config.Storage["files"] {
		if f["filesystem"] != "root" {
			t.Errorf("a file of version 2 without a file system: %v", f)
		}
		delete(f, "filesystem")
	}
	out, err := json.Marshal(config)
	lab.Must(t, err)
	return string(out)
}

// The unit may start kubeadm itself.
func TestUnit(t *testing.T) {
	const config = `{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/etc/kubeadm.yml", "contents": {"source": "data:,config"}}]}, "systemd": {"units": [%s]}}`
	for _, command := range []string{
		`/usr/bin/kubeadm join --config /etc/kubeadm.yml`,
		`-/usr/bin/kubeadm join \\\n  --config /etc/kubeadm.yml`,
		`/bin/bash -c \"kubeadm join --config /etc/kubeadm.yml\"`,
		`/bin/bash -eux /opt/join.sh`,
	} {
		text := fmt.Sprintf(config, `{"name": "kubeadm.service", "contents": "[Service]\nExecStart=`+command+`\n"}`)
		if strings.Contains(command, "join.sh") {
			text = strings.Replace(text, `"files": [`, `"files": [{"path": "/opt/join.sh", "contents": {"source": "data:,kubeadm%20join%20--config%20/etc/kubeadm.yml"}}, `, 1)
		}
		if n, err := read(text); err != nil || n.Join == nil || len(n.Skipped)+len(n.Files) != 0 {
			t.Errorf("%s: %+v, %v", command, n, err)
		}
	}
	if n, err := read(fmt.Sprintf(config, `{"name": "kubeadm.service", "dropins": [{"name": "a.conf", "contents": "[Service]"}]}`)); err != nil || len(n.Skipped) != 2 || !strings.Contains(n.Skipped[0], "ExecStart") {
		t.Errorf("a unit that starts nothing: %q, %v", n.Skipped, err)
	}
	n, err := read(fmt.Sprintf(config, `{"name": "kubeadm.service", "enabled": false, "contents": "[Service]\nExecStart=/usr/bin/kubeadm join --config /etc/kubeadm.yml\n"}`))
	if err != nil || n.Join != nil || len(n.Skipped) != 1 {
		t.Errorf("a unit that is not enabled: %+v, %v", n, err)
	}
	if diff := cmp.Diff([]want.File(nil), n.Files); diff != "" {
		t.Error(diff)
	}
}

func FuzzRead(f *testing.F) {
	formattest.Seed(f, golden+"/ignition*.txt")
	f.Add([]byte(`{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/run/a/b", "contents": {"source": "data:;base64,` + formattest.Packed(make([]byte, 1<<20)) + `", "compression": "gzip"}, "append": [{}]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		formattest.Bounded(t, text, uint64(96<<20+1000*len(text)), func(text []byte) (*want.Node, error) { return read(string(text)) })
	})
}
