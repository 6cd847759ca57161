//go:build cluster

package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/authority"
	"kios/test/lab/machine"
)

// What the registry wants, and the program "provide" of the image workload gives.
const (
	registryUser     = "kios"
	registryPassword = "a-password"
)

const registryPort = 5000

// TestCredentialProvider runs a pod of an image that only a credential provider
// gets at, which a pod brings. The registry's hosts.toml has no [host], and a CA beside it.
func TestCredentialProvider(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	host := fmt.Sprintf("%s:%d", gateway, registryPort)
	image := host + "/private/workload:1"
	ca := authority.New(t)
	e.registry(ca.Config(t, gateway), "private/workload", "1")
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		etc: with(noNetwork, map[string]string{
			"containerd/certs.d/" + host + "/hosts.toml": fmt.Sprintf("server = \"https://%s\"\nca = \"ca.pem\"\n", host),
			"containerd/certs.d/" + host + "/ca.pem":     string(ca.PEM()),
			"kubernetes/credential-providers.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: provide
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["%s"]
  defaultCacheDuration: 1m
  args: ["%s", "%s", "%s"]
`, host, host, registryUser, registryPassword),
		}),
	})
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.apply(`apiVersion: v1
kind: Pod
metadata: {name: private}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "` + image + `", imagePullPolicy: Always, command: [/workload, sleep]}]
`)
	u.eventually("the registry refuses the node", func() error {
		text, err := u.try("get", "events", "--field-selector=involvedObject.name=private,reason=Failed", "-o", "jsonpath={.items[*].message}")
		if err != nil {
			return err
		}
		return wants(text, image, "may require authorization")
	})
	u.apply(`apiVersion: v1
kind: Pod
metadata: {name: bring}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
  - name: main
    image: kios.local/workload:1
    args: [install, /exec/provide]
    volumeMounts: [{name: exec, mountPath: /exec}]
  volumes: [{name: exec, hostPath: {path: /usr/libexec/kubernetes/kubelet-plugins/credential-provider/exec}}]
`)
	u.succeeded("bring")
	n.probe(t, "kill", "kubelet")
	u.ready("private")
	n.powerOff(t)
}

// registry serves an image to those who have the password.
func (e *env) registry(config *tls.Config, repository, tag string) {
	e.t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	e.serveTLS(config, registryPort, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != registryUser || password != registryPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	push(e.t, handler, repository, tag, workload(e.t))
}

// push puts an image into a registry (distribution-spec v1.1). Package remote could,
// and needs modules that nothing else here does.
func push(t *testing.T, handler http.Handler, repository, tag string, image v1.Image) {
	t.Helper()
	send := func(method, path, kind string, body []byte) {
		t.Helper()
		r := httptest.NewRequest(method, "/v2/"+repository+path, bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusCreated {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	blob := func(digest v1.Hash, content []byte) {
		t.Helper()
		send(http.MethodPost, "/blobs/uploads/?digest="+digest.String(), "application/octet-stream", content)
	}
	manifest, err := image.Manifest()
	lab.Must(t, err)
	config, err := image.RawConfigFile()
	lab.Must(t, err)
	blob(manifest.Config.Digest, config)
	layers, err := image.Layers()
	lab.Must(t, err)
	for i, layer := range layers {
		content, err := layer.Compressed()
		lab.Must(t, err)
		data, err := io.ReadAll(content)
		lab.Must(t, errors.Join(err, content.Close()))
		blob(manifest.Layers[i].Digest, data)
	}
	text, err := image.RawManifest()
	lab.Must(t, err)
	send(http.MethodPut, "/manifests/"+tag, string(manifest.MediaType), text)
}

// workload is an image with the program workload, which nodes do not have under
// this name.
func workload(t *testing.T) v1.Image {
	t.Helper()
	program, err := os.ReadFile(machine.Program(t, "workload"))
	lab.Must(t, err)
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	lab.Must(t, w.WriteHeader(&tar.Header{Name: "workload", Mode: 0o555, Size: int64(len(program)), ModTime: time.Unix(0, 0)}))
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	lab.Must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	lab.Must(t, err)
	image, err := mutate.AppendLayers(empty.Image, layer)
	lab.Must(t, err)
	config, err := image.ConfigFile()
	lab.Must(t, err)
	config.OS, config.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}
