// Package kubeletargs makes the kubelet's command line and its drop-in
// configuration from the machine and from the files below /etc/kubernetes, as
// the published contract of kiOS has them: node-labels, node-ip, cloud-provider, kubelet.conf,
// bootstrap-kubelet.conf, credential-providers.yaml.
//
// A kubelet that is given a bad value does not start. Labels and addresses are
// checked here: a bad one is named, with its file and place, and left out. What
// is in YAML is named to our main of the kubelet, which reads it with the
// kubelet's own code and leaves out what is bad (upstream/kubelet).
package kubeletargs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/rfc1123"
	"kios/internal/userfile"
)

// Paths on a node that are the same with every configuration.
const (
	etc        = "/etc/kubernetes"
	kubeconfig = etc + "/kubelet.conf"
	bootstrap  = etc + "/bootstrap-kubelet.conf"
	config     = "/usr/share/kios/kubelet.yaml"
	DropInDir  = "/run/kios/kubelet.d"
	certDir    = "/var/lib/kubelet/pki"
	clientCert = certDir + "/kubelet-client-current.pem"

	// ProviderDir is where the programs of image credential providers are, if there are any.
	ProviderDir = "/usr/libexec/kubernetes/kubelet-plugins/credential-provider/exec"
	// ProviderLinks is where the kubelet finds providers: our main makes a link to init for
	// each. Init finds the program, or the pod.
	ProviderLinks = "/run/kios/credential-provider-links"
)

// LeastPods is the least that a kubelet takes, as upstream/kubelet has it: five are the node's own.
const LeastPods = 8

// The user's files of which Args makes the command line, below a directory that is
// laid out as /etc is. Kubeconfigs are not among them: they are in /etc in any case.
const (
	labelsFile    = "kubernetes/node-labels"
	addressFile   = "kubernetes/node-ip"
	cloudFile     = "kubernetes/cloud-provider"
	providersFile = "kubernetes/credential-providers.yaml"
	flagsFile     = "kubernetes/kubelet-flags" // is for the kubelet's main
)

// Files are those of a node, below a root directory that is "/" but in tests.
type Files struct {
	Root string
	// Etc is where the user's files are, if not in /etc.
	Etc string
}

func (f Files) path(name string) string { return filepath.Join(f.Root, name) }

// user returns the path of one of the user's files on the node.
func (f Files) user(name string) string {
	if f.Etc == "" {
		return filepath.Join("/etc", name)
	}
	return filepath.Join(f.Etc, name)
}

// Exists reports whether there is something at a path of the node.
func (f Files) Exists(name string) bool {
	_, err := os.Stat(f.path(name))
	return err == nil
}

// read returns the text of a file, "" if there is none.
func (f Files) read(name string) (string, error) { return f.readAtMost(name, userfile.Max) }

func (f Files) readAtMost(name string, limit int64) (string, error) {
	text, err := userfile.Read(f.path(name), limit)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Standalone reports whether the node belongs to no cluster: there is neither
// a kubeconfig nor one to get a kubeconfig with. Whether one that is there is
// good only the kubelet can tell.
func (f Files) Standalone() bool {
	return f.kubeconfig() == "" && !f.Exists(bootstrap)
}

// Known reports whether a cluster may know the node by its name: the kubelet has
// credentials that are for that name. Before it asks for a certificate it writes a
// kubeconfig that names it.
func (f Files) Known() bool {
	text := f.kubeconfig()
	return text != "" && (!strings.Contains(text, clientCert) || f.Exists(clientCert))
}

// Args returns the kubelet's command line, and a sentence for each thing that
// was left out of it.
func (f Files) Args() (args []string, warnings []string) {
	args = []string{"/bin/kubelet", "--config", config, "--config-dir", DropInDir, "--cert-dir", certDir,
		// Has no field in the configuration. The kubelet counts what the runtime
		// uses by it.
		"--runtime-cgroups", "/runtime",
		// Named in any case: our main takes those away that are not there, or
		// not good.
		"--kubeconfig", kubeconfig, "--bootstrap-kubeconfig", bootstrap,
		"--image-credential-provider-config", f.user(providersFile), "--image-credential-provider-bin-dir", ProviderLinks}
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
	add("--cloud-provider", f.cloudProvider)
	return args, warnings
}

// kubeconfig returns the text of a kubeconfig that may work, or "": an empty file,
// as a power cut leaves it, does not.
func (f Files) kubeconfig() string {
	text, err := f.read(kubeconfig)
	if err != nil || !strings.Contains(text, "server") {
		return ""
	}
	return text
}

// NodeIP returns the node's address, or two of them with a comma, from the
// first line of node-ip, or "".
func (f Files) NodeIP() (string, error) {
	name := f.user(addressFile)
	text, err := f.read(name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		return "", nil
	}
	line = strings.ReplaceAll(line, " ", "")
	if err := CheckNodeIP(line); err != nil {
		return "", fmt.Errorf("%s is not used: %w", name, err)
	}
	return line, nil
}

// CheckNodeIP finds what the kubelet would not take as --node-ip (parseNodeIP,
// k8s.io/component-helpers/node/util), and what it takes and then never registers with
// (validateNodeIP of pkg/kubelet).
func CheckNodeIP(text string) error {
	var ips []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		ip, err := netip.ParseAddr(part)
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("%.100q is no IP address, nor two with a comma", text)
		}
		if ip = ip.Unmap(); ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			return fmt.Errorf("%s is not an address by which a node can be reached: choose one that is not of loopback, multicast or a link alone", ip)
		}
		ips = append(ips, ip)
	}
	switch {
	case len(ips) == 1:
		return nil
	case len(ips) > 2 || ips[0].Is4() == ips[1].Is4():
		return fmt.Errorf("%.100q is neither one address nor one of each family", text)
	case ips[0].IsUnspecified() || ips[1].IsUnspecified():
		return fmt.Errorf("%q holds an address that is none: of two, both must be the node's", text)
	}
	return nil
}

// cloudProvider returns "external" if the file says so: a controller in the cluster asks
// the cloud for the node's addresses. The flag has no field in the configuration, and the
// kubelet ends on any other value.
func (f Files) cloudProvider() (string, error) {
	name := f.user(cloudFile)
	text, err := f.read(name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		switch line = strings.TrimSpace(line); line {
		case "":
		case "external":
			return line, nil
		default:
			return "", fmt.Errorf("%s is not used: %.100q is no cloud provider of the kubelet: write external, or remove the file", name, line)
		}
	}
	return "", nil
}

// Bounds of node-labels.
const (
	maxLabels = 64 << 10 // bytes of the file: the kernel takes no argument of 128 KiB (execve(2), E2BIG)
	maxBad    = 16       // lines that are named
)

// nodeLabels returns the labels as --node-labels takes them. The file has
// lines "key: value"; # begins a comment.
func (f Files) nodeLabels() (string, error) {
	name := f.user(labelsFile)
	text, err := f.readAtMost(name, maxLabels)
	if err != nil {
		return "", err
	}
	var labels []string
	var bad badLines
	n := 0
	for line := range strings.Lines(text) {
		n++
		label, err := parseLabel(line)
		if err != nil {
			bad.add(name, n, err)
		} else if label != "" {
			labels = append(labels, label)
		}
	}
	return strings.Join(labels, ","), bad.err(name)
}

// badLines are the lines of a file that are left out.
type badLines struct {
	count int
	named []error
}

func (b *badLines) add(name string, line int, err error) {
	if b.count++; b.count <= maxBad {
		b.named = append(b.named, fmt.Errorf("%s, line %d is left out: %w", name, line, err))
	}
}

func (b *badLines) err(name string) error {
	if more := b.count - len(b.named); more > 0 {
		b.named = append(b.named, fmt.Errorf("%s: %d more lines are left out", name, more))
	}
	return errors.Join(b.named...)
}

// parseLabel turns "key: value" into "key=value", and a line without a label
// into "". The first kiOS dropped every character that has no place in a label:
// blanks, quotes, commas, brackets. Its files look like YAML and JSON, so that
// is how it stays.
func parseLabel(text string) (string, error) {
	line, _, _ := strings.Cut(text, "#")
	line = strings.Map(func(r rune) rune {
		if !strings.ContainsRune(alphanumeric+"._-/:", r) {
			return -1
		}
		return r
	}, line)
	if line == "" {
		return "", nil
	}
	key, value, found := strings.Cut(line, ":")
	if !found {
		return "", fmt.Errorf("%.100q has no colon (lines are KEY: VALUE)", strings.TrimSpace(text))
	}
	if err := CheckLabel(key, value); err != nil {
		return "", err
	}
	return key + "=" + value, nil
}

// CheckLabel finds what the kubelet, or the API server, would not take as one
// of the node's own labels.
func CheckLabel(key, value string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if prefix, _, found := strings.Cut(key, "/"); found && reserved(prefix) && !allowed(prefix, key) {
		return fmt.Errorf("a kubelet may not give itself the label %s: kubectl label node can", key)
	}
	return checkValue(value)
}

// CheckTaint finds what the API server would not take as a taint's key and value.
func CheckTaint(key, value string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return checkValue(value)
}

func checkValue(value string) error {
	if value != "" && !isName(value) {
		return fmt.Errorf("%.100q is no value of a label or taint", value)
	}
	return nil
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// isName reports whether s is the name in a label's key, or the value of a label.
func isName(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, alphanumeric+"._-") == "" && strings.Trim(s[:1]+s[len(s)-1:], alphanumeric) == ""
}

func checkKey(key string) error {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	if !isName(name) || found && !rfc1123.IsSubdomain(prefix) {
		return fmt.Errorf("%.100q is no key of a label or taint", key)
	}
	return nil
}

// reserved and allowed repeat the kubelet's rule, on which it refuses to start
// (IsKubernetesLabel and IsKubeletLabel, k8s.io/kubernetes/pkg/kubelet/apis).
func reserved(prefix string) bool {
	return inDomain(prefix, "kubernetes.io") || inDomain(prefix, "k8s.io")
}

func allowed(prefix, key string) bool {
	if inDomain(prefix, "kubelet.kubernetes.io") || inDomain(prefix, "node.kubernetes.io") {
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

func inDomain(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
