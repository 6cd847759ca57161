package clusterconfig

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"kios/host/manifest"
)

//go:embed control-plane/*.yaml addons/*.yaml
var templates embed.FS

// nodeFiles are files of the cluster's directory that a control plane's node
// has, below /etc/kubernetes. They belong to root there, as all files of a disk.
var nodeFiles = []string{
	"pki/ca.crt", "pki/ca.key", "pki/sa.pub", "pki/sa.key",
	"pki/apiserver.crt", "pki/apiserver.key",
	"pki/apiserver-kubelet-client.crt", "pki/apiserver-kubelet-client.key",
	"pki/apiserver-etcd-client.crt", "pki/apiserver-etcd-client.key",
	// Not the keys of these two authorities: nothing on the node signs with them.
	"pki/front-proxy-ca.crt", "pki/front-proxy-client.crt", "pki/front-proxy-client.key",
	"pki/etcd/ca.crt", "pki/etcd/server.crt", "pki/etcd/server.key", "pki/etcd/peer.crt", "pki/etcd/peer.key",
	"controller-manager.conf", "scheduler.conf", "approver.conf", authenticationFile,
}

// keys returns the control plane's keys, kubeconfigs and other files.
func (c *Cluster) keys() (Files, error) {
	var files Files
	for _, name := range nodeFiles {
		data, err := os.ReadFile(c.path(name))
		if err != nil {
			return nil, err
		}
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".pub") {
			mode = 0o644
		}
		files = append(files, File{Path: filepath.Join("kubernetes", name), Mode: mode, Data: data})
	}
	return files, nil
}

// staticPods renders control-plane/NAME.yaml for each program.
func (c *Cluster) staticPods(n Node) (Files, error) {
	at := onNode(n)
	var files Files
	for _, p := range c.programs(at) {
		data := struct {
			Kubernetes, Etcd string
			Args, Files      []string
			Port             int
			LivenessFailures int
		}{c.cfg.Kubernetes, etcdVersion, p.args(), p.files(at), c.port, c.livenessFailures()}
		text, err := render("control-plane/"+p.name+".yaml", data)
		if err != nil {
			return nil, err
		}
		if text, err = manifest.WithUID(text); err != nil {
			return nil, fmt.Errorf("static pod %s: %w", p.name, err)
		}
		files = append(files, File{Path: "kubernetes/manifests/" + p.name + ".yaml", Mode: 0o600, Data: text})
	}
	return files, nil
}

// livenessFailures is how many liveness probes, one in ten seconds, a program may fail
// until it is started again. On a real machine it has got stuck after eight, as kubeadm
// has it. On an emulated one the host is busy: to start again takes minutes in which the
// others, too, get less, until none answers in time.
func (c *Cluster) livenessFailures() int {
	if c.cfg.Emulated {
		return 60
	}
	return 8
}

// render executes a template.
func render(name string, data any) ([]byte, error) {
	t := template.New(filepath.Base(name)).Funcs(template.FuncMap{"volume": volumeName}).Option("missingkey=error")
	t, err := t.ParseFS(templates, name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// volumeName makes a name for the volume with a file: pki/etcd/ca.crt and
// pki/ca.crt are two.
func volumeName(path string) string {
	name := strings.TrimPrefix(path, "/etc/kubernetes/")
	return strings.NewReplacer("/", "-", ".", "-").Replace(name)
}
