package kubeadm

import (
	"errors"
	"fmt"
	"strings"

	"kios/internal/discovery"
	"kios/internal/kubeconfig"
	"kios/pods/metadata/want"
)

// joinConfiguration has the fields of both versions. What a worker does not need is of any type.
type joinConfiguration struct {
	head
	Registration registration `json:"nodeRegistration"`
	Discovery    struct {
		BootstrapToken *bootstrapToken `json:"bootstrapToken"`
		File           *struct {
			Path string `json:"kubeConfigPath"`
		} `json:"file"`
		TLSBootstrapToken string `json:"tlsBootstrapToken"`
		Timeout           any    `json:"timeout"`
	} `json:"discovery"`
	ControlPlane any      `json:"controlPlane"`
	Timeouts     any      `json:"timeouts"`
	CACertPath   string   `json:"caCertPath"`
	DryRun       bool     `json:"dryRun"`
	SkipPhases   []string `json:"skipPhases"`
	Patches      *struct {
		Directory string `json:"directory"`
	} `json:"patches"`
}

type bootstrapToken struct {
	Token      string   `json:"token"`
	Server     string   `json:"apiServerEndpoint"`
	Hashes     []string `json:"caCertHashes"`
	UnsafeSkip bool     `json:"unsafeSkipCAVerification"`
}

// maxHashes are more than a cluster has authorities, and maxSkipped more than kubeadm has
// phases.
const (
	maxHashes  = 32
	maxSkipped = 32
)

// access is how the node gets into the cluster.
func (j *joinConfiguration) access(n *want.Node) (*want.Join, error) {
	d := &j.Discovery
	if d.TLSBootstrapToken != "" {
		if err := discovery.CheckToken(d.TLSBootstrapToken); err != nil {
			return nil, fmt.Errorf("discovery.tlsBootstrapToken: %w", err)
		}
	}
	switch {
	case d.BootstrapToken != nil && d.File != nil:
		return nil, errors.New("the JoinConfiguration has both discovery.bootstrapToken and discovery.file: leave out one of them")
	case d.BootstrapToken != nil:
		return d.BootstrapToken.access(d.TLSBootstrapToken)
	case d.File != nil:
		return fromFile(d.File.Path, d.TLSBootstrapToken, n)
	}
	return nil, errors.New("the JoinConfiguration does not say which cluster to join: it needs discovery.bootstrapToken or discovery.file")
}

func (b *bootstrapToken) access(tlsToken string) (*want.Join, error) {
	server, err := discovery.ServerURL(b.Server)
	if err != nil {
		return nil, fmt.Errorf("discovery.bootstrapToken.apiServerEndpoint: %w", err)
	}
	if err := discovery.CheckToken(b.Token); err != nil {
		return nil, fmt.Errorf("discovery.bootstrapToken.token: %w", err)
	}
	if len(b.Hashes) == 0 && !b.UnsafeSkip {
		return nil, errors.New("the JoinConfiguration does not say whom to trust: give discovery.bootstrapToken.caCertHashes, as kubeadm token create --print-join-command prints them")
	}
	if len(b.Hashes) > maxHashes {
		return nil, fmt.Errorf("discovery.bootstrapToken.caCertHashes has more than %d hashes", maxHashes)
	}
	for _, h := range b.Hashes {
		if err := discovery.CheckHash(h); err != nil {
			return nil, fmt.Errorf("discovery.bootstrapToken.caCertHashes: %w", err)
		}
	}
	if tlsToken == "" {
		tlsToken = b.Token
	}
	return &want.Join{Server: server, Hashes: b.Hashes, Insecure: b.UnsafeSkip, Token: tlsToken, Discovery: b.Token, ClusterConfig: true}, nil
}

// fromFile reads a kubeconfig that is among the files of the node.
func fromFile(path, tlsToken string, n *want.Node) (*want.Join, error) {
	text, err := content(path, n)
	if err != nil {
		return nil, fmt.Errorf("discovery.file.kubeConfigPath: %w", err)
	}
	var k kubeconfig.Config
	if err := decode(text, &k); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	c, err := cluster(k)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	ca, err := caOf(c, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if tlsToken != "" {
		return &want.Join{Server: c.Server, CA: ca, Token: tlsToken, ClusterConfig: true}, nil
	}
	if _, _, err := k.Current(); err != nil {
		return nil, fmt.Errorf("read %s: %w, and the JoinConfiguration has no discovery.tlsBootstrapToken", path, err)
	}
	return &want.Join{Kubeconfig: text, CA: ca, ClusterConfig: true}, nil
}

// cluster returns that of the current context, or the only one.
func cluster(k kubeconfig.Config) (kubeconfig.Cluster, error) {
	name := ""
	for _, c := range k.Contexts {
		if c.Name == k.CurrentContext {
			name = c.Context.Cluster
		}
	}
	for _, c := range k.Clusters {
		if c.Name == name || len(k.Clusters) == 1 {
			return c.Cluster, nil
		}
	}
	return kubeconfig.Cluster{}, errors.New("the kubeconfig does not say which cluster is meant: it has to have one, or a current-context")
}

// caOf returns the CA of a cluster, which may be another file of the node.
func caOf(c kubeconfig.Cluster, n *want.Node) (ca []byte, err error) {
	if c.CAFile != "" {
		ca, err = content(c.CAFile, n)
	} else {
		ca, err = c.CA()
	}
	if err == nil {
		err = discovery.CheckCA(ca)
	}
	return ca, err
}

// content returns a file of the node.
func content(path string, n *want.Node) ([]byte, error) {
	var text []byte
	for _, f := range n.Files {
		switch {
		case f.Path == path && f.Append:
			text = append(text[:len(text):len(text)], f.Content...)
		case f.Path == path:
			text = f.Content
		}
	}
	if text == nil {
		return nil, fmt.Errorf("%.200q is not one of the files in the user data: put it there, at that path", path)
	}
	return text, nil
}

// unused names what a node does not do, or does in another way.
func (j *joinConfiguration) unused() (lines []string) {
	if j.DryRun {
		lines = append(lines, "dryRun of the JoinConfiguration is not used: the node joins")
	}
	if j.CACertPath != "" && j.CACertPath != caPath {
		lines = append(lines, fmt.Sprintf("caCertPath %.200q of the JoinConfiguration is not used: the cluster's CA is in %s", j.CACertPath, caPath))
	}
	if j.Patches != nil && j.Patches.Directory != "" {
		lines = append(lines, fmt.Sprintf("patches in %.200q are not used: put a KubeletConfiguration into /etc/kubernetes/config.d", j.Patches.Directory))
	}
	if phases := j.SkipPhases; len(phases) > 0 {
		lines = append(lines, fmt.Sprintf("skipPhases %.200q of the JoinConfiguration is not used: there are no phases", strings.Join(phases[:min(len(phases), maxSkipped)], ",")))
	}
	return lines
}

// caPath is kubeadm's default, and where a node looks for it.
const caPath = "/etc/kubernetes/pki/ca.crt"
