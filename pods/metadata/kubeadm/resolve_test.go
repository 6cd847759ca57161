package kubeadm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/authority"
)

// kubeletConfig is as kubeadm leaves it: with all fields.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: ""
cpuManagerReconcilePeriod: 0s
featureGates: {MutatingAdmissionPolicy: true}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}}}
maxPods: 200
nodeStatusUpdateFrequency: 0s
resolvConf: /run/systemd/resolve/resolv.conf
rotateCertificates: true
serverTLSBootstrap: false
shutdownGracePeriod: 0s
staticPodPath: /etc/kubernetes/manifests
tlsCipherSuites: []
`

// serve is the API server of a cluster of kubeadm.
func serve(t *testing.T, ca *authority.Authority, token string) string {
	info := "clusters: [{name: '', cluster: {server: 'https://lb.example.com:6443', certificate-authority-data: " + base64.StdEncoding.EncodeToString(ca.PEM()) + "}}]\n"
	id, secret, _ := strings.Cut(token, ".")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + base64.RawURLEncoding.EncodeToString([]byte(info))))
	maps := map[string]map[string]string{
		"/api/v1/namespaces/kube-public/configmaps/cluster-info":   {"kubeconfig": info, "jws-kubeconfig-" + id: header + ".." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))},
		"/api/v1/namespaces/kube-system/configmaps/kubelet-config": {"kubelet": kubeletConfig},
	}
	return ca.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		data := maps[r.URL.Path]
		switch {
		case data == nil:
			http.NotFound(w, r)
		case strings.Contains(r.URL.Path, "kube-system") && r.Header.Get("Authorization") != "Bearer "+token:
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			json.NewEncoder(w).Encode(map[string]any{"data": data})
		}
	})
}

func TestResolve(t *testing.T) {
	ca, other := authority.New(t), authority.New(t)
	server := serve(t, ca, token)
	kubelet := map[string]any{
		"clusterDNS": []any{"10.96.0.10"}, "clusterDomain": "cluster.local", "rotateCertificates": true,
		"maxPods": float64(200), "featureGates": map[string]any{"MutatingAdmissionPolicy": true},
	}
	const public = "https://lb.example.com:6443"
	conf := strings.Replace(kubeconfigOf("certificate-authority-data: "+base64.StdEncoding.EncodeToString(ca.PEM()), "token: "+token), "https://10.0.0.1:6443", "https://"+server, 1)
	for _, tt := range []struct {
		name string
		join want.Join
		want *want.Cluster
		err  string
	}{
		{"by a hash", want.Join{Server: server, Hashes: []string{ca.Hash()}, Token: token, ClusterConfig: true}, &want.Cluster{Server: public, CA: ca.PEM(), Kubelet: kubelet}, ""},
		{"another hash", want.Join{Server: server, Hashes: []string{other.Hash()}, Token: token}, nil, "not the one that was given"},
		{"by the token", want.Join{Server: server, Discovery: token}, &want.Cluster{Server: public, CA: ca.PEM()}, ""},
		{"another token", want.Join{Server: server, Token: another}, nil, "does not know the bootstrap token ghijkl"},
		{"with a CA", want.Join{Server: "https://" + server, CA: ca.PEM(), Token: token, ClusterConfig: true}, &want.Cluster{Server: "https://" + server, CA: ca.PEM(), Kubelet: kubelet}, ""},
		{"expired", want.Join{Server: "https://" + server, CA: ca.PEM(), Token: another, ClusterConfig: true}, nil, "does not show it (401 Unauthorized)"},
		{"another CA", want.Join{Server: "https://" + server, CA: other.PEM(), Token: token, ClusterConfig: true}, nil, "signed by unknown authority"},
		{"by a kubeconfig", want.Join{Kubeconfig: []byte(conf), ClusterConfig: true}, &want.Cluster{Server: "https://" + server, CA: ca.PEM(), Kubelet: kubelet}, ""},
		{"without credentials", want.Join{Kubeconfig: []byte(strings.Replace(conf, "token: "+token, "tokenFile: /x", 1)), ClusterConfig: true}, nil, "neither a token nor a client certificate"},
	} {
		got, err := Resolve(t.Context(), &tt.join)
		if diff := cmp.Diff(tt.want, got); diff != "" || tt.want == nil && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v, want %q, (-want +got):\n%s", tt.name, err, tt.err, diff)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add(kubeletConfig)
	f.Add("maxPods: &a 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := settings(text)
		if err != nil {
			return
		}
		_, err = json.Marshal(fields)
		lab.Must(t, err)
	})
}
