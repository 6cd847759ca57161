package metadata

import (
	"net"
	"path/filepath"
	"slices"
	"strings"

	"kios/pods/metadata/place"
)

// Requests on /run/system.sock, each a byte.
const (
	restartKubelet    = 0x03
	restartContainerd = 0x04
)

// restartContainerd has containerd started again if it reads files that have changed, and
// would not notice. Those of another machine are gone, and nobody has noted which.
func (r *reading) restartContainerd(result place.Result) error {
	if !result.Reset && !slices.ContainsFunc(slices.Concat(result.Written, result.Removed), readByContainerd) {
		return nil
	}
	return r.request(restartContainerd, "containerd")
}

// restartKubelet is the same for the kubelet. One that has to join a cluster starts again by
// itself.
func (r *reading) restartKubelet(result place.Result) error {
	joins := r.node.EKS != nil || slices.ContainsFunc(result.Written, isKubeconfig)
	changed := slices.Concat(result.Written, result.Removed)
	if result.Reset || !joins && slices.ContainsFunc(changed, readByKubelet) {
		return r.request(restartKubelet, "the kubelet")
	}
	return nil
}

func (r *reading) request(b byte, daemon string) error {
	r.Log.Printf("%s starts again, with the files that have changed", daemon)
	conn, err := net.Dial("unix", filepath.Join(r.Root, "run/system.sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte{b})
	return err
}

const environmentFile = "/etc/kios/environment.yaml"

func readByContainerd(path string) bool {
	return path == environmentFile || strings.HasPrefix(path, "/etc/ssl/certs/") ||
		strings.HasPrefix(path, "/etc/containerd/") && !strings.HasPrefix(path, "/etc/containerd/certs.d/")
}

// readByKubelet is about the files that the kubelet reads when it starts. It watches its
// manifests and kubeconfigs.
func readByKubelet(path string) bool {
	return path == environmentFile || path == "/etc/hostname" || strings.HasPrefix(path, "/etc/ssl/certs/") ||
		strings.HasPrefix(path, "/etc/kubernetes/") && !isKubeconfig(path) && !strings.HasPrefix(path, "/etc/kubernetes/manifests/")
}

func isKubeconfig(path string) bool {
	return path == "/etc/kubernetes/kubelet.conf" || path == "/etc/kubernetes/bootstrap-kubelet.conf"
}
