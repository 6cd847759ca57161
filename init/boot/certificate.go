package boot

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"kios/init/nodecert"
	"kios/internal/kubeletargs"
)

const pki = "/var/lib/kubelet/pki"

// ensureCertificate makes the kubelet's serving certificate unless there is a
// sound one.
func (n *Node) ensureCertificate() error {
	pair, err := n.servingPair()
	n.self.update(func(f *facts) { f.pair = pair })
	return err
}

// servingPair returns the certificate that is there, or else a new one.
func (n *Node) servingPair() (nodecert.Pair, error) {
	pair := pairIn(pki)
	names := append([]string{n.self.get().hostname, "localhost", "127.0.0.1", "::1"}, n.nodeIPs()...)
	err := pair.Check()
	if err == nil && !pair.Outdated(names) {
		return pair, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.once.Error("the kubelet's serving certificate is replaced, the old files are kept as %s.bad and %s.bad: %v",
			pair.Cert, pair.Key, err)
		if err := pair.SetAside(); err != nil {
			n.Log.Warn("keep the old certificate: %v", err)
		}
	}
	ca := n.signer()
	err = pair.Make(names, ca)
	if err == nil {
		return pair, nil
	}
	n.Log.Warn("the kubelet's serving certificate is kept in memory for this boot: %v", err)
	pair = pairIn("/run/kios/pki")
	return pair, pair.Make(names, ca)
}

func pairIn(dir string) nodecert.Pair {
	return nodecert.Pair{Cert: dir + "/kubelet-server.crt", Key: dir + "/kubelet-server.key"}
}

// nodeIPs are the node's addresses as far as the user has given them.
func (n *Node) nodeIPs() []string {
	ips, err := kubeletargs.Files{Root: "/"}.NodeIP()
	if err != nil || ips == "" {
		return nil // the error is logged with the kubelet's arguments
	}
	return strings.Split(ips, ",")
}

// signer returns the cluster's CA if its key is here, as on a first node and in a
// test, and nil otherwise.
func (n *Node) signer() *nodecert.CA {
	const key = "/etc/kubernetes/pki/ca.key"
	if _, err := os.Stat(key); err != nil {
		return nil
	}
	ca, err := nodecert.LoadCA(nodecert.Pair{Cert: kubeletargs.CACert, Key: key})
	if err != nil {
		n.once.Error("the kubelet's serving certificate signs itself: %v", err)
		return nil
	}
	return ca
}
