// Package joining finds out, before the kubelet starts, whether the node belongs to
// a cluster. The kubelet ends at once when it is given a bad kubeconfig, or has kept
// a bad certificate. So this package reads each file first, with client-go, as the
// kubelet will. It names a bad file on standard error and leaves it out: the node
// then runs its static pods, and stays without a cluster until the file is corrected.
//
//	kubelet.conf            bootstrap-kubelet.conf   the kubelet
//	good                    any                      is in the cluster of kubelet.conf
//	missing or bad          good                     asks that cluster for a certificate
//	missing or bad          missing or bad           is standalone, and watches both files
//	names a file in /run    any                      is standalone, and watches for that file
//	that is not there
//
// Files in /run are gone after a boot, and somebody writes them again: so does the pod
// metadata with the token of EKS. A kubeconfig that waits for one is no mistake.
//
// It leaves out what the kubelet does well itself: asking for certificates and
// renewing them. It follows the rules for kubeconfigs in buildKubeletClientConfig
// (k8s.io/kubernetes/cmd/kubelet/app) and LoadClientConfig
// (k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap).
package joining

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"

	"kios/internal/wholefile"
	"kios/upstream/kubelet/args"
)

// Files are those that tell of a cluster.
type Files struct {
	Kubeconfig string // kubelet.conf: how the node gets at its API server
	Bootstrap  string // how it gets a certificate for that
	CertDir    string // where the kubelet keeps its certificates
	ClientCA   string // pki/ca.crt: whose clients may use the kubelet's port
}

// Membership is what the files amount to.
type Membership struct {
	Server    string // URL of the API server, "" without a cluster
	Bootstrap bool   // the bootstrap kubeconfig is good for something
	Waiting   bool   // there is no certificate yet: the node asks for one

	clientCA string // file
	caData   []byte // of a CA that has no file yet
	rotate   bool   // the kubelet is to renew its client certificate

	ready  bool     // kubelet.conf has credentials that the kubelet did not get itself
	secret string   // text of the bootstrap kubeconfig, and of the authority that it names
	refs   []string // files that the kubeconfigs name
	aside  []string // files that are in the kubelet's way
}

// Say takes a sentence about something that is wrong.
type Say func(format string, args ...any)

// Prepare reads the files for a node of that name, and renames those that the
// kubelet would end on, or overwrite, to NAME.bad.
func (f Files) Prepare(node string, say Say) Membership {
	f.checkStore(say)
	m := f.read(node, say)
	for _, path := range m.aside {
		if err := os.Rename(path, path+".bad"); err != nil {
			say("keep %s as %s.bad: %v", path, filepath.Base(path), err)
		}
	}
	return m
}

// read changes nothing: the kubelet may be running.
func (f Files) read(node string, say Say) Membership {
	own, boot := f.load(f.Kubeconfig), f.load(f.Bootstrap)
	m := Membership{rotate: true, refs: append(own.refs, boot.refs...), secret: boot.text + boot.authority}
	f.checkName(&own, boot, node, say)
	switch {
	case own.good():
		f.join(&m, own, boot, node, say)
	case own.absent != "":
		own.sayAbsent(say)
	case boot.good():
		f.bootstrap(&m, own, boot, node, say)
	default:
		for _, k := range []kubeconfig{own, boot} {
			switch {
			case k.absent != "":
				k.sayAbsent(say)
			case k.there:
				say("%s is not used: %v: the node stays without a cluster until the file is corrected", k.path, k.err)
			}
		}
	}
	f.findClientCA(&m, own, boot, say)
	return m
}

// join fills in m for a good kubelet.conf.
func (f Files) join(m *Membership, own, boot kubeconfig, node string, say Say) {
	m.Server, m.ready = own.config.Host, true
	if own.leaf == nil {
		// A token or a program. The kubelet that renews certificates would talk
		// to the API server with nothing else, and with a bootstrap kubeconfig
		// it would overwrite this one.
		m.rotate = false
		if boot.there {
			say("%s is not used: the credentials in %s do not need it", boot.path, own.path)
		}
		return
	}
	// Of a certificate in the file and one that it has got since, the kubelet
	// takes the latter (getCurrentCertificateOrBootstrap, client-go/util/certificate).
	if own.config.CertFile != f.current() && !isOther(own.leaf, node) {
		f.dropOther(m, node, say)
	}
	expired := time.Now().After(own.leaf.NotAfter) && !f.renewed(node)
	m.Bootstrap = boot.good()
	m.Waiting = m.Bootstrap && expired
	m.ready = own.config.CertFile != f.current() && !expired
	if boot.there && !boot.good() {
		say("%s is not used: %v", boot.path, boot.err)
	}
	if expired && !m.Bootstrap {
		say("the client certificate of %s expired at %s by the clock of this node: if the clock is right, write a new %s or a %s with a fresh token",
			own.path, own.leaf.NotAfter.UTC().Format(time.DateTime), filepath.Base(f.Kubeconfig), f.Bootstrap)
	}
}

// bootstrap fills in m for a good bootstrap-kubelet.conf. The kubelet writes a
// kubelet.conf of its own, before it has the certificate that this names.
func (f Files) bootstrap(m *Membership, own, boot kubeconfig, node string, say Say) {
	m.Server, m.Bootstrap, m.Waiting = boot.config.Host, true, true
	f.dropOther(m, node, say) // the kubelet would not ask while it has one
	if !own.there || own.waits {
		return
	}
	say("%s is not used, and is kept as %s.bad: %v: the node asks for a certificate with %s",
		own.path, filepath.Base(own.path), own.err, boot.path)
	m.aside = append(m.aside, own.path)
}

// current is the file with the certificate that the kubelet has got.
func (f Files) current() string { return filepath.Join(f.CertDir, "kubelet-client-current.pem") }

// stored returns that certificate, nil if there is none.
func (f Files) stored() *x509.Certificate {
	pair, err := tls.LoadX509KeyPair(f.current(), f.current())
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// renewed reports whether the kubelet has got a certificate that is good now.
func (f Files) renewed(node string) bool {
	leaf := f.stored()
	return leaf != nil && !isOther(leaf, node) && time.Now().Before(leaf.NotAfter)
}

// dropOther puts aside the certificate that the kubelet has got, if that is for a
// node of another name.
func (f Files) dropOther(m *Membership, node string, say Say) {
	if leaf := f.stored(); leaf != nil && isOther(leaf, node) {
		say("the certificate %s is not used: it is for a node named %s, and this node is named %s", f.current(), nodeName(leaf), node)
		m.aside = append(m.aside, f.current())
	}
}

// findClientCA decides whose clients may use the kubelet's port. Like kubeadm
// join, it takes the authority of the kubeconfig for the cluster's, if
// pki/ca.crt does not say otherwise: the API server is one of its clients, and
// what they may do is for the API server to say.
func (f Files) findClientCA(m *Membership, own, boot kubeconfig, say Say) {
	if _, err := os.Stat(f.ClientCA); err == nil {
		err := checkFile(f.ClientCA)
		if err == nil {
			_, err = cert.NewPool(f.ClientCA)
		}
		if err != nil {
			say("%s is not used, so clients with its certificates are refused: %v", f.ClientCA, err)
			return
		}
		m.clientCA = f.ClientCA
		return
	}
	if m.Server == "" {
		return
	}
	k := own
	if !own.good() {
		k = boot
	}
	if m.clientCA, m.caData = k.config.CAFile, k.config.CAData; m.clientCA == "" && m.caData == nil {
		say("there is no %s, and %s names no authority: the API server's own certificate is not accepted, so kubectl logs and exec do not work", f.ClientCA, k.path)
	}
}

// Args returns the kubelet's arguments without the kubeconfigs that it must not
// be given.
func (m Membership) Args(list []string) []string {
	if m.Server == "" {
		list = args.Without(list, "kubeconfig")
	}
	if !m.Bootstrap {
		list = args.Without(list, "bootstrap-kubeconfig")
	}
	return list
}

// dropIn is read after init's 10-node.conf and before the user's files.
const (
	dropIn = "20-cluster.conf"
	caFile = "cluster-ca.crt"
)

// WriteDropIn writes into the kubelet's drop-in directory who may use its port.
// In a cluster the API server is asked. A standalone node has nobody to ask: it
// lets in the clients of one CA, and without a CA it has no port.
func (m Membership) WriteDropIn(dir string) error {
	if m.caData != nil {
		m.clientCA = filepath.Join(dir, caFile)
		if err := wholefile.Volatile(m.clientCA, m.caData, 0o600); err != nil {
			return fmt.Errorf("write the cluster's authority: %w", err)
		}
	}
	text, err := json.MarshalIndent(m.configuration(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", dropIn, err)
	}
	return wholefile.Volatile(filepath.Join(dir, dropIn), text, 0o600)
}

func (m Membership) configuration() map[string]any {
	joined := m.Server != ""
	authentication := map[string]any{
		"anonymous": map[string]any{"enabled": false},
		"webhook":   map[string]any{"enabled": joined},
	}
	if m.clientCA != "" {
		authentication["x509"] = map[string]any{"clientCAFile": m.clientCA}
	}
	mode := "Webhook"
	if !joined {
		mode = "AlwaysAllow" // everybody who was authenticated, which takes the CA
	}
	return map[string]any{
		"apiVersion":         "kubelet.config.k8s.io/v1beta1",
		"kind":               "KubeletConfiguration",
		"authentication":     authentication,
		"authorization":      map[string]any{"mode": mode},
		"enableServer":       joined || m.clientCA != "",
		"rotateCertificates": m.rotate,
	}
}
