package kubeletargs

import "encoding/json"

// CACert is the file whose CA signs the clients of the kubelet's port.
const CACert = etc + "/pki/ca.crt"

// DropIn returns the drop-in KubeletConfiguration of this node, in JSON: the files of the
// serving certificate. What depends on the machine, and who may use the kubelet's port, is
// not in it. Our main of the kubelet adds both, since it sees the machine as the kubelet
// does, and reads the kubeconfig.
func DropIn(cert, key string) []byte {
	text, err := json.MarshalIndent(map[string]any{
		"apiVersion":        "kubelet.config.k8s.io/v1beta1",
		"kind":              "KubeletConfiguration",
		"tlsCertFile":       cert,
		"tlsPrivateKeyFile": key,
	}, "", "  ")
	if err != nil {
		panic(err) // strings always encode
	}
	return append(text, '\n')
}
