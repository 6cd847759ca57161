// Package kubeletargs makes the kubelet's command line and its drop-in
// configuration from the files below /etc/kubernetes, as the published
// contract of kiOS has them: node-labels, node-ip, kubelet.conf,
// bootstrap-kubelet.conf, credential-providers.yaml, pki/ca.crt.
//
// A kubelet that is given a bad value does not start, so each value is checked
// here: a bad one is named, with its file and place, and left out. What is in
// YAML is the kubelet's to judge, except for files that cannot be what they
// should.
package kubeletargs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Paths on a node that are the same with every configuration.
const (
	etc         = "/etc/kubernetes"
	kubeconfig  = etc + "/kubelet.conf"
	bootstrap   = etc + "/bootstrap-kubelet.conf"
	providers   = etc + "/credential-providers.yaml"
	config      = "/usr/share/kios/kubelet.yaml"
	DropInDir   = "/run/kios/kubelet.d"
	certDir     = "/var/lib/kubelet/pki"
	providerDir = "/usr/libexec/kubernetes/kubelet-plugins/credential-provider/exec"
)

// Files are those of a node, below a root directory that is "/" but in tests.
type Files struct{ Root string }

func (f Files) path(name string) string { return filepath.Join(f.Root, name) }

// Exists reports whether there is something at a path of the node.
func (f Files) Exists(name string) bool {
	_, err := os.Stat(f.path(name))
	return err == nil
}

// read returns the text of a file, "" if there is none.
func (f Files) read(name string) (string, error) {
	text, err := os.ReadFile(f.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Standalone reports whether the node belongs to no cluster: there is neither
// a kubeconfig nor one to get a kubeconfig with.
func (f Files) Standalone() bool {
	return !f.joined() && !f.Exists(bootstrap)
}

// Args returns the kubelet's command line, and a sentence for each thing that
// was left out of it.
func (f Files) Args() (args []string, warnings []string) {
	args = []string{"/bin/kubelet", "--config", config, "--config-dir", DropInDir, "--cert-dir", certDir,
		// Has no field in the configuration. The kubelet counts what the runtime
		// uses by it.
		"--runtime-cgroups", "/runtime"}
	add := func(flag string, value func() (string, error)) {
		v, err := value()
		if err != nil {
			warnings = append(warnings, err.Error())
		}
		if v != "" {
			args = append(args, flag, v)
		}
	}
	add("--node-labels", f.nodeLabels)
	add("--node-ip", f.NodeIP)
	if !f.Standalone() {
		// Without --kubeconfig the kubelet takes itself for standalone, and
		// with only a bootstrap file it writes the other one there.
		args = append(args, "--kubeconfig", kubeconfig)
	}
	if f.Exists(bootstrap) {
		args = append(args, "--bootstrap-kubeconfig", bootstrap)
	}
	add("--image-credential-provider-config", f.providers)
	if args[len(args)-1] == providers {
		args = append(args, "--image-credential-provider-bin-dir", providerDir)
	}
	if f.Exists(kubeconfig) && !f.joined() {
		warnings = append(warnings, kubeconfig+" is not used: it names no server")
	}
	return args, warnings
}

// providers returns the configuration of the credential providers, if the
// kubelet would start with it. Like joined it looks for what must be in the
// file, without knowing YAML.
func (f Files) providers() (string, error) {
	text, err := f.read(providers)
	if err != nil || text == "" && !f.Exists(providers) {
		return "", err
	}
	if !f.Exists(providerDir) {
		return "", fmt.Errorf("%s is not used: there are no programs in %s", providers, providerDir)
	}
	if !strings.Contains(text, "CredentialProviderConfig") || !strings.Contains(text, "kubelet.config.k8s.io/") {
		return "", fmt.Errorf("%s is not used: it has no apiVersion kubelet.config.k8s.io/v1 and kind CredentialProviderConfig", providers)
	}
	return providers, nil
}

// joined reports whether there is a kubeconfig that may work: an empty file,
// as a power cut leaves it, does not.
func (f Files) joined() bool {
	text, err := f.read(kubeconfig)
	return err == nil && strings.Contains(text, "server")
}

// NodeIP returns the node's address, or two of them with a comma, from the
// first line of node-ip, or "".
func (f Files) NodeIP() (string, error) {
	const name = etc + "/node-ip"
	text, err := f.read(name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		return "", nil
	}
	parts := strings.Split(line, ",")
	for _, part := range parts {
		if _, err := netip.ParseAddr(part); err != nil || len(parts) > 2 || strings.Contains(part, "%") {
			return "", fmt.Errorf("%s is not used: %q is no IP address, nor two with a comma", name, line)
		}
	}
	return line, nil
}

// nodeLabels returns the labels as --node-labels takes them. The file has
// lines "key: value"; # begins a comment; quotes and blanks are dropped.
func (f Files) nodeLabels() (string, error) {
	const name = etc + "/node-labels"
	text, err := f.read(name)
	if err != nil {
		return "", err
	}
	var labels []string
	var bad []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		label, err := parseLabel(line)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s, line %d is left out: %w", name, n, err))
		} else if label != "" {
			labels = append(labels, label)
		}
	}
	return strings.Join(labels, ","), errors.Join(bad...)
}

// parseLabel turns "key: value" into "key=value", and a line without a label
// into "".
func parseLabel(text string) (string, error) {
	line, _, _ := strings.Cut(text, "#")
	line = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n\"'", r) {
			return -1
		}
		return r
	}, line)
	if line == "" {
		return "", nil
	}
	key, value, found := strings.Cut(line, ":")
	if !found {
		return "", fmt.Errorf("%q has no colon (lines are KEY: VALUE)", strings.TrimSpace(text))
	}
	if err := checkKey(key); err != nil {
		return "", err
	}
	if value != "" && !isName(value) {
		return "", fmt.Errorf("%q is no value of a label", value)
	}
	return key + "=" + value, nil
}

const (
	lower        = "abcdefghijklmnopqrstuvwxyz0123456789"
	alphanumeric = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isName reports whether s is the name, or the value, of a label.
func isName(s string) bool { return len(s) <= 63 && framed(s, alphanumeric, "._-") }

// isDomain reports whether s may stand before the slash of a label's key.
func isDomain(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !framed(part, lower, "-") {
			return false
		}
	}
	return len(s) <= 253
}

// framed reports whether s has characters of the two sets only, and begins and
// ends with some of the first.
func framed(s, ends, more string) bool {
	return s != "" && strings.Trim(s, ends+more) == "" && strings.Trim(s[:1]+s[len(s)-1:], ends) == ""
}

func checkKey(key string) error {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	if !isName(name) || found && !isDomain(prefix) {
		return fmt.Errorf("%q is no key of a label", key)
	}
	if reserved(prefix) && !allowed(prefix, key) {
		return fmt.Errorf("a kubelet may not give itself the label %s", key)
	}
	return nil
}

// reserved and allowed repeat the kubelet's rule, on which it refuses to start
// (IsKubernetesLabel and IsKubeletLabel, k8s.io/kubernetes/pkg/kubelet/apis).
func reserved(prefix string) bool {
	return within(prefix, "kubernetes.io") || within(prefix, "k8s.io")
}

func allowed(prefix, key string) bool {
	if within(prefix, "kubelet.kubernetes.io") || within(prefix, "node.kubernetes.io") {
		return true
	}
	switch key {
	case "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type",
		"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region":
		return true
	}
	return false
}

func within(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
