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
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// The registries: one that the node reaches, and two behind a proxy, with and without TLS.
const (
	registryPort    = 5000
	privateRegistry = gateway + ":5000"
	hiddenHost      = "registry.example"
	hiddenRegistry  = hiddenHost + ":5001"
	plainRegistry   = "plain.example:5002"
)

// TestCredentialProvider runs pods of images that only credential providers get at: a
// program that a pod brings, and the pod of docs/kubelet.md. The first registry's
// hosts.toml has no [host], and a CA beside it. The others are behind a proxy, and one
// has a certificate by an authority in /etc/ssl/certs. The kubelet has flags as in a cloud.
func TestCredentialProvider(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	ca, hiddenCA := authority.New(t), authority.New(t)
	e.registry(ca.Config(t, gateway), registryPort)
	e.registry(hiddenCA.Config(t, hiddenHost), registryPort+1)
	e.serve(registryPort+2, images(t))
	proxy := e.startProxy(map[string]string{hiddenRegistry: gateway + ":5001", plainRegistry: gateway + ":5002"})
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		etc: with(noNetwork, map[string]string{
			"containerd/certs.d/" + privateRegistry + "/hosts.toml": fmt.Sprintf("server = \"https://%s\"\nca = \"ca.pem\"\n", privateRegistry),
			"containerd/certs.d/" + privateRegistry + "/ca.pem":     string(ca.PEM()),
			"containerd/certs.d/" + plainRegistry + "/hosts.toml":   fmt.Sprintf("server = \"http://%s\"\n", plainRegistry),
			"ssl/certs/hidden.pem":                                  string(hiddenCA.PEM()),
			"kubernetes/credential-providers.yaml":                  providers("provide", privateRegistry) + provider("ecr-credential-provider", hiddenRegistry),
			"kubernetes/kubelet-flags":                              cloudFlags,
			"kios/environment.yaml":                                 proxyEnvironment,
		}),
	})
	n.expect(t, `kubelet-flags, line 4: ignoring --network-plugin: `)
	n.expect(t, `kubelet-flags, line 5: ignoring --cert-dir: `)
	n.expect(t, `environment.yaml, line 4 is left out: PATH cannot be set`)
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.demand(u.field("node/"+n.name, "{.spec}"), "lab:///zone/worker-1", uninitialized)
	u.kubectl("taint", "node", n.name, uninitialized+"-") // as the cloud's controller does
	u.waitFor("node/"+n.name, "condition=Ready")
	testProgram(u, n)
	testPod(u, n)
	// Neither for the API server nor for the first registry.
	if got, want := proxy.requests(), []string{plainRegistry, hiddenRegistry}; !slices.Equal(got, want) {
		t.Errorf("the proxy was asked for %q, want %q", got, want)
	}
	n.powerOff(t)
}

const uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

// cloudFlags has two lines that cannot be followed.
var cloudFlags = `# what a cloud's guide says
--cloud-provider=external
--provider-id=lab:///zone/worker-1
--network-plugin=cni
--cert-dir=/etc/elsewhere
--node-ip=` + nodeAddress(1) + "\n"

var proxyEnvironment = fmt.Sprintf(`environment:
  HTTP_PROXY: http://%[1]s:%[2]d
  HTTPS_PROXY: "http://%[1]s:%[2]d"
  PATH: /elsewhere
  NO_PROXY: 10.79.0.0/24,.svc
`, gateway, proxyPort)

// providers is a CredentialProviderConfig with one provider. More can follow.
func providers(name, registry string) string {
	return "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n" + provider(name, registry)
}

func provider(name, registry string) string {
	return fmt.Sprintf(`- name: %s
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["%s"]
  defaultCacheDuration: 1m
  args: ["%s", "%s", "%s"]
`, name, registry, registry, registryUser, registryPassword)
}

// pulled is a pod of an image of a registry.
func pulled(name, registry string) string {
	return `apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "` + registry + `/private/workload:1", imagePullPolicy: Always, command: [/workload, sleep]}]
`
}

// testProgram has a pod bring the program of a provider.
func testProgram(u *user, n *node) {
	u.apply(pulled("private", privateRegistry))
	u.eventually("the registry refuses the node", func() error {
		text, err := u.try("get", "events", "--field-selector=involvedObject.name=private,reason=Failed", "-o", "jsonpath={.items[*].message}")
		if err != nil {
			return err
		}
		return wants(text, privateRegistry, "may require authorization")
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
	n.probe(u.t, "kill", "kubelet")
	u.ready("private")
}

// testPod does what docs/kubelet.md says of a pod that is a provider.
func testPod(u *user, n *node) {
	u.t.Helper()
	version := regexp.MustCompile(`kios\.local/system:(\S+)`).FindStringSubmatch(n.probe(u.t, "cat", "/etc/kubernetes/manifests/node.yaml"))
	if version == nil {
		u.t.Fatal("the manifest of the pod node has no version")
	}
	manifest := strings.NewReplacer(
		"registry.example/ecr-credential-provider:v1.35.3", "kios.local/workload:1",
		" /ecr-credential-provider]", " /workload, provide]",
		"VERSION", version[1],
	).Replace(example(u.t, "docs/kubelet.md", "Image credentials"))
	n.probe(u.t, "write", "/etc/kubernetes/manifests/ecr-credential-provider.yaml", manifest)
	system := *u
	system.namespace = "kube-system"
	system.waitFor("pod/ecr-credential-provider-"+n.name, "create")
	system.ready("ecr-credential-provider-" + n.name)
	u.apply(pulled("hidden", hiddenRegistry))
	u.apply(pulled("plain", plainRegistry))
	u.ready("hidden", "plain")
}

// example returns the first block of YAML in a section of a page.
func example(t *testing.T, page, title string) string {
	t.Helper()
	_, text, found := strings.Cut(lab.ReadFile(t, filepath.Join(lab.Root(t), page)), "\n## "+title+"\n")
	_, text, hasBlock := strings.Cut(text, "\n```yaml\n")
	block, _, _ := strings.Cut(text, "\n```\n")
	if !found || !hasBlock {
		t.Fatalf("%s has no YAML in a section %q", page, title)
	}
	return block + "\n"
}

// images is a registry with the image private/workload:1.
func images(t *testing.T) http.Handler {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	push(t, handler, "private/workload", "1", workload(t))
	return handler
}

// registry serves an image to those who have the password.
func (e *env) registry(config *tls.Config, port int) {
	e.t.Helper()
	handler := images(e.t)
	e.serveTLS(config, port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != registryUser || password != registryPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
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
	config.OS, config.Architecture = "linux", lab.Arch(t).Name
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}
