package place

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/discovery"
	"kios/internal/kubeconfig"
	"kios/internal/kubeletargs"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// Where the kubelet looks.
const (
	bootstrapPath = "/etc/kubernetes/bootstrap-kubelet.conf"
	kubeletPath   = "/etc/kubernetes/kubelet.conf"
	configPath    = "/etc/kubernetes/config.d/60-metadata.yaml" // over files that image --join makes
)

// kubeconfigs are what the kubelet waits for.
var kubeconfigs = []string{bootstrapPath, kubeletPath}

// joins reports whether all is known with which the node joins a cluster.
func (p *plan) joins() bool {
	return p.node.Join != nil && (p.cluster != nil || !p.node.Join.Asks())
}

// join adds the files of the cluster, the kubeconfig last.
func (p *plan) join(f flags) {
	j := p.node.Join
	if j != nil && !p.joins() {
		p.kept = append(p.kept, bootstrapPath, kubeletPath, configPath, kubeletargs.CACert)
		return
	}
	c := want.Cluster{}
	if p.cluster != nil && j != nil {
		c = *p.cluster
	}
	p.kubelet(c.Kubelet, f)
	if j == nil {
		return
	}
	if c.CA == nil {
		c.CA = j.CA
	}
	if c.Server == "" {
		c.Server = j.Server
	}
	p.authority(c.CA)
	text, own, err := access(j, c)
	switch {
	case err != nil:
		p.result.say("the node does not join: %v", err)
	case own:
		p.secret(kubeletPath, text)
	default:
		p.secret(bootstrapPath, text)
	}
}

// authority adds the cluster's. Another one gives way where no kubeconfig needs it: it says who
// may see the pods until the node joins, as that of kios run does.
func (p *plan) authority(ca []byte) {
	if len(ca) > 0 {
		p.add(file{path: kubeletargs.CACert, content: ca, mode: 0o644, system: !p.claimed()})
	}
}

// claimed reports whether there is a kubeconfig that others have written.
func (p *plan) claimed() bool {
	return slices.ContainsFunc(kubeconfigs, func(path string) bool {
		_, ours := p.record.Files[path]
		_, err := os.Lstat(filepath.Join(p.root, path))
		return err == nil && !ours
	})
}

// access returns the kubeconfig, and whether it is the node's own, and not for getting a
// certificate.
func access(j *want.Join, c want.Cluster) (text string, own bool, err error) {
	if j.Kubeconfig != nil {
		var k kubeconfig.Config
		if err := bounded.YAML(j.Kubeconfig, &k); err != nil {
			return "", false, fmt.Errorf("read the kubeconfig: %w", err)
		}
		_, user, err := k.Current()
		if err != nil {
			return "", false, fmt.Errorf("read the kubeconfig: %w", err)
		}
		return string(j.Kubeconfig), !discovery.IsBootstrap(user), nil
	}
	user := kubeconfig.User{Token: j.Token}
	if j.TokenFile != "" {
		user = kubeconfig.User{TokenFile: j.TokenFile}
	}
	if user == (kubeconfig.User{}) {
		return "", false, fmt.Errorf("there is neither a token nor a kubeconfig for %s", c.Server)
	}
	k := kubeconfig.Bootstrap(c.Server, kubeletargs.CACert, "")
	k.Users[0].User = user
	made, err := k.Marshal()
	return string(made), !discovery.IsBootstrap(user), err
}

// kubelet adds the kubelet's configuration: the user's over the cluster's.
func (p *plan) kubelet(ofCluster map[string]any, f flags) {
	all := want.Overlay(ofCluster, p.node.Kubelet)
	if id := p.machine.ProviderID; id != "" && p.node.Join != nil && all["providerID"] == nil && !f.providerID {
		all["providerID"] = id
	}
	if len(all) == 0 {
		return
	}
	all["apiVersion"], all["kind"] = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
	p.text(configPath, p.yaml(all))
}

// flags are the kubelet's flags, less those that have files of their own.
type flags struct {
	hostname, cloudProvider, nodeIP string
	providerID                      bool // it is one of the others
	labels                          map[string]string
	other                           []string // of which the kubelet's own main thinks what it likes
}

// spread sorts flags.
func spread(list []string, result *Result) flags {
	f := flags{labels: map[string]string{}}
	for _, flag := range list {
		if strings.ContainsAny(flag, "\r\n\x00") {
			name, _, _ := strings.Cut(flag, "=")
			result.say("the flag %.100q of the kubelet is left out: it is more than one line", name)
			continue
		}
		f.add(flag)
	}
	return f
}

func (f *flags) add(flag string) {
	name, value, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	switch name = strings.ReplaceAll(name, "_", "-"); {
	case name == "node-labels":
		f.addLabels(value)
	case name == "cloud-provider" && value == "external":
		f.cloudProvider = value
	case name == "node-ip" && kubeletargs.CheckNodeIP(value) == nil:
		f.nodeIP = value
	case name == "hostname-override":
		f.hostname = value
	default:
		f.providerID = f.providerID || name == "provider-id"
		f.other = append(f.other, flag)
	}
}

// addLabels reads KEY=VALUE,...
func (f *flags) addLabels(text string) {
	for label := range strings.SplitSeq(text, ",") {
		if key, value, _ := strings.Cut(strings.TrimSpace(label), "="); key != "" {
			f.labels[key] = value
		}
	}
}
