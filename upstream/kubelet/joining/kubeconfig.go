package joining

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/certificate"
)

// kubeconfig is a file that was read, or was found to be bad.
type kubeconfig struct {
	path    string
	text    string
	there   bool
	err     error // what is wrong with it
	config  *rest.Config
	leaf    *x509.Certificate // the client certificate, nil for other credentials
	refs    []string          // files that it names
	program string            // one of them, which gets its credentials
	waits   bool              // for a certificate that the kubelet is to get
	absent  string            // a file in /run that somebody is to write

	authority string // certificates in PEM of who may sign the API server's
}

// errNotIssued is no mistake: the kubelet names the certificate before it has it.
var errNotIssued = errors.New("its client certificate has not been issued yet")

func (k kubeconfig) good() bool { return k.there && k.err == nil }

// load reads a kubeconfig and all that it names, as the kubelet does before it
// talks to anybody.
func (f Files) load(path string) (k kubeconfig) {
	k.path = path
	// client-go is not made for what others may have written.
	defer func() {
		if p := recover(); p != nil {
			k.err = fmt.Errorf("it cannot be read: %v", p)
		}
	}()
	if path == "" {
		return k
	}
	text, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return k
	}
	k.there, k.text, k.err = true, string(text), err
	if err == nil {
		k.err = plain(k.read(f.current()))
	}
	return k
}

func (k *kubeconfig) read(current string) error {
	if strings.TrimSpace(k.text) == "" {
		return errors.New("the file is empty")
	}
	loader := &clientcmd.ClientConfigLoadingRules{ExplicitPath: k.path}
	loaded, err := loader.Load()
	if err != nil {
		return err
	}
	k.note(loaded)
	if k.waits = k.lacks(current); k.waits {
		return errNotIssued
	}
	if k.absent = k.absentInRun(); k.absent != "" {
		return fmt.Errorf("%s is not there", k.absent)
	}
	if err := k.checkRefs(); err != nil {
		return err
	}
	k.config, err = clientcmd.NewNonInteractiveClientConfig(*loaded, loaded.CurrentContext, &clientcmd.ConfigOverrides{}, loader).ClientConfig()
	if err != nil {
		return err
	}
	if _, _, err := rest.DefaultServerUrlFor(k.config); err != nil {
		return err
	}
	if err := checkExec(k.config.ExecProvider); err != nil {
		return err
	}
	return k.credentials()
}

// note keeps the names of the files that the current context needs.
func (k *kubeconfig) note(loaded *clientcmdapi.Config) {
	context := loaded.Contexts[loaded.CurrentContext]
	if context == nil {
		return
	}
	if c := loaded.Clusters[context.Cluster]; c != nil {
		k.refs = append(k.refs, c.CertificateAuthority)
	}
	if u := loaded.AuthInfos[context.AuthInfo]; u != nil {
		k.refs = append(k.refs, u.ClientCertificate, u.ClientKey, u.TokenFile)
		if u.Exec != nil {
			k.program = u.Exec.Command
			k.refs = append(k.refs, k.program)
		}
	}
}

// maxFile is more than any kubeconfig, certificate or token has, in bytes.
const maxFile = 1 << 20

// readFile reads a file that a kubelet can use.
func readFile(path string) ([]byte, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// checkFile refuses what the kubelet would wait for, as for a named pipe, or read without
// end: it and client-go open all files that a kubeconfig names.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", path)
	case info.Size() > maxFile:
		return fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return nil
}

// checkRefs is checkFile for the files that it names, but for those that are not there:
// client-go's words for these are good. Programs are for checkExec.
func (k *kubeconfig) checkRefs() error {
	for _, ref := range k.refs {
		if ref == "" || ref == k.program {
			continue
		}
		if err := checkFile(ref); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lacks reports whether it names a file that is not there.
func (k *kubeconfig) lacks(path string) bool {
	for _, ref := range k.refs {
		if ref == path {
			_, err := os.Stat(path)
			return errors.Is(err, os.ErrNotExist)
		}
	}
	return false
}

// absentInRun returns a file in /run that it names, and that is not there.
func (k *kubeconfig) absentInRun() string {
	for _, ref := range k.refs {
		if _, err := os.Stat(ref); strings.HasPrefix(ref, "/run/") && errors.Is(err, os.ErrNotExist) {
			return ref
		}
	}
	return ""
}

// noteMark tells PID 1 that nothing is wrong: it is consoleline.NoteMark, of another module.
const noteMark = "note: "

// sayAbsent says what it waits for, in case that never comes.
func (k *kubeconfig) sayAbsent(say Say) {
	say(noteMark+"%s waits for %s: the node joins when that is there", k.path, k.absent)
}

// checkExec looks for the program of a kubeconfig now: client-go looks for it only
// when it needs a token, and then again and again.
func checkExec(e *clientcmdapi.ExecConfig) error {
	if e == nil {
		return nil
	}
	if _, err := exec.LookPath(e.Command); err != nil {
		return fmt.Errorf("the program for its credentials: %w", err)
	}
	return nil
}

// credentials loads the authority and what the node is to show.
func (k *kubeconfig) credentials() error {
	tc, err := k.config.TransportConfig()
	if err != nil {
		return err
	}
	if _, err := transport.TLSConfigFor(tc); err != nil { // loads the files, too
		return err
	}
	k.authority = string(tc.TLS.CAData)
	if tc.HasCertAuth() {
		pair, err := tls.X509KeyPair(tc.TLS.CertData, tc.TLS.KeyData)
		if err != nil {
			return fmt.Errorf("client certificate: %w", err)
		}
		k.leaf = pair.Leaf
		return nil
	}
	if !tc.HasTokenAuth() && !tc.HasBasicAuth() && k.config.ExecProvider == nil && k.config.AuthProvider == nil {
		return errors.New("its user has no credentials")
	}
	return nil
}

// plain shortens an error of client-go to one line.
func plain(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = strings.TrimPrefix(text, "invalid configuration: ")
	text = strings.Replace(text, "no configuration has been provided, try setting KUBERNETES_MASTER environment variable", "it names no cluster, no user and no current-context", 1)
	return errors.New(text)
}

// checkStore looks at the certificates that the kubelet has got. A power cut can
// leave one cut off, and the kubelet would end on it at every start.
func (f Files) checkStore(say Say) {
	for _, name := range []string{"kubelet-client", "kubelet-server"} {
		if err := checkStored(name, f.CertDir); err != nil {
			say("%v", err)
		}
	}
}

func checkStored(name, dir string) error {
	store, err := certificate.NewFileStore(name, dir, dir, "", "")
	if err != nil {
		return fmt.Errorf("the certificates in %s: %w", dir, err)
	}
	var none *certificate.NoCertKeyError
	_, err = store.Current()
	if err == nil || errors.As(err, &none) {
		return nil
	}
	path := store.CurrentPath()
	if renameErr := os.Rename(path, path+".bad"); renameErr != nil {
		return fmt.Errorf("the certificate %s is bad (%w), and cannot be renamed: %w", path, plain(err), renameErr)
	}
	return fmt.Errorf("the certificate %s is not used, and is kept as %s.bad: %w: the node asks for another", path, filepath.Base(path), plain(err))
}

// checkName looks for a certificate under another name: this node was renamed since
// it got it. The cluster would refuse all its requests. With a bootstrap kubeconfig
// the node joins again under the new name.
func (f Files) checkName(own *kubeconfig, boot kubeconfig, node string, say Say) {
	if !own.good() || own.leaf == nil {
		return
	}
	switch {
	case !isOther(own.leaf, node):
	case boot.good() && own.config.CertFile == f.current():
		own.err, own.waits = errNotIssued, true // of its name: see bootstrap
	default:
		say("the client certificate of %s is for a node named %[2]s, and this node is named %[3]s: the cluster will refuse it; write %[2]s into /etc/hostname, or give the node a kubeconfig of its own",
			own.path, nodeName(own.leaf), node)
	}
}

const userPrefix = "system:node:"

// nodeName returns the name of the node that a certificate is for.
func nodeName(leaf *x509.Certificate) string {
	return strings.TrimPrefix(leaf.Subject.CommonName, userPrefix)
}

// isOther reports whether a certificate is for another node than the one of that
// name.
func isOther(leaf *x509.Certificate, node string) bool {
	return strings.HasPrefix(leaf.Subject.CommonName, userPrefix) && nodeName(leaf) != node
}
