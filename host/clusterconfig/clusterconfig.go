// Package clusterconfig makes what a Kubernetes cluster of kiOS nodes consists of,
// apart from the machines: keys and certificates, kubeconfigs, the static pods
// of the control plane, the files that make a machine a node of it, and the
// add-ons. The layout is kubeadm's
// (https://kubernetes.io/docs/setup/best-practices/certificates/), so what is
// written about clusters made with kubeadm holds for these.
//
// There is one control plane, on one node or as processes of the host, and so no
// leader election and no second member of etcd. It leaves out machines (package
// cluster), how images are built (package build) and talking to the API server,
// which is kubectl's.
package clusterconfig

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"kios/host/join"
	"kios/internal/rfc1123"
	"kios/internal/wholefile"
)

// Versions of what has a version of its own, as upstream/*/go.mod have them.
const (
	DefaultKubernetes = "v1.37.2" // of a control plane whose Config has none
	etcdVersion       = "v3.7.3"
	coreDNSVersion    = "v1.15.0"
	flannelVersion    = "v0.28.10"
)

// Config says what a cluster is like. Only Endpoint is needed.
type Config struct {
	Name       string // in kubeconfigs; "kios" if empty
	Kubernetes string // version of the control plane; the newest that can be built if empty
	// Endpoint is the HOST:PORT at which nodes reach the API server, which
	// listens on that port.
	Endpoint string
	Names    []string // more names and addresses that the API server serves under
	// PodCIDR and ServiceCIDR are 10.244.0.0/16 and 10.96.0.0/16 if empty. The
	// API server is the first address of the latter, DNS the tenth.
	PodCIDR, ServiceCIDR string
	// NodeCertificates is how long certificates live that the cluster signs for
	// kubelets; a year if 0.
	NodeCertificates time.Duration
	// NodeCIDRs are the networks that nodes are in. With them, a node gets no
	// serving certificate for an address outside, whatever it says it has.
	NodeCIDRs []string
	// Emulated says that QEMU translates the control plane's machine: there, a
	// liveness probe ends a program after ten minutes of silence, not after one.
	Emulated bool
}

// Cluster is a cluster whose keys are in a directory.
type Cluster struct {
	cfg  Config
	dir  string
	host string // of the endpoint
	port int
	// advertise is the address at which pods reach the API server: the endpoint's,
	// or "" for that of its machine's default route.
	advertise string
	dns       netip.Addr
	token     string
	pki       *authorities
}

// Open makes what is missing in dir, loads what is there, and renews
// certificates that are near their end or that do not fit cfg. Only the owner
// of dir can read it: whoever can is the cluster's administrator.
func Open(dir string, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, dir: dir}
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	for _, f := range []func() error{c.makeDirs, c.openPKI, c.openKubeconfigs, c.openToken, c.writeAuthentication} {
		if err := f(); err != nil {
			return nil, fmt.Errorf("open the cluster in %s: %w", dir, err)
		}
	}
	return c, nil
}

func (c *Cluster) setDefaults() error {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.cfg.Name, "kios"},
		{&c.cfg.Kubernetes, DefaultKubernetes},
		{&c.cfg.PodCIDR, "10.244.0.0/16"},
		{&c.cfg.ServiceCIDR, "10.96.0.0/16"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	for _, f := range []func() error{c.checkNames, c.checkEndpoint, c.checkCIDRs} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

var versionForm = regexp.MustCompile(`^v1\.\d+\.\d+$`)

// isName reports whether s can be the name of a cluster, or a host's in a
// certificate, whose common name has room for 64 characters.
func isName(s string) bool { return len(s) <= 63 && rfc1123.IsSubdomain(s) }

func (c *Cluster) checkNames() error {
	if !isName(c.cfg.Name) {
		return fmt.Errorf("%q is not a valid name for a cluster: use lower-case letters, digits and hyphens", c.cfg.Name)
	}
	if !versionForm.MatchString(c.cfg.Kubernetes) {
		return fmt.Errorf("%q is not a version of Kubernetes: write it like %s", c.cfg.Kubernetes, DefaultKubernetes)
	}
	for _, name := range c.cfg.Names {
		if err := checkHost(name); err != nil {
			return err
		}
	}
	if d := c.cfg.NodeCertificates; d != 0 && d < time.Minute {
		return fmt.Errorf("node certificates cannot be valid for only %s: a kubelet needs a minute to get the next one", d)
	}
	return nil
}

func (c *Cluster) checkEndpoint() error {
	host, port, err := net.SplitHostPort(c.cfg.Endpoint)
	if err != nil {
		return fmt.Errorf("%q is not an endpoint: write HOST:PORT, for example 192.0.2.10:6443", c.cfg.Endpoint)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return fmt.Errorf("endpoint %s: %q is not a port", c.cfg.Endpoint, port)
	}
	c.host, c.port = host, int(number)
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() { // a tunnel's or a forwarded port
		c.advertise = host
	}
	return checkHost(host)
}

// checkHost accepts what can stand in a certificate.
func checkHost(name string) error {
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		return nil
	}
	if !isName(name) {
		return fmt.Errorf("%q is neither an address nor a host name in lower case", name)
	}
	return nil
}

func (c *Cluster) checkCIDRs() error {
	pods, err := parseCIDR("pods", c.cfg.PodCIDR)
	if err != nil {
		return err
	}
	services, err := parseCIDR("services", c.cfg.ServiceCIDR)
	if err != nil {
		return err
	}
	for _, text := range c.cfg.NodeCIDRs {
		if _, err := parseCIDR("nodes", text); err != nil {
			return err
		}
	}
	// What the pod network can do (flannel's addresses are IPv4), and
	// kube-controller-manager: it gives each node 256 addresses, and wants no more
	// than 2^16 nodes.
	if !pods.Addr().Is4() || pods.Bits() < 8 || pods.Bits() > 24 {
		return fmt.Errorf("the pod network %s must be an IPv4 network from /8 to /24: each node gets a /24 of it", pods)
	}
	if !services.Addr().Is4() {
		return fmt.Errorf("the service network %s must be an IPv4 network, like the pod network", services)
	}
	if pods.Overlaps(services) {
		return fmt.Errorf("the pod network %s and the service network %s overlap", pods, services)
	}
	if room := services.Addr().BitLen() - services.Bits(); room < 4 {
		return fmt.Errorf("the service network %s is too small: DNS has its tenth address", services)
	}
	c.dns = nth(services, 10)
	return nil
}

func parseCIDR(of, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not a network for %s: write it like 10.96.0.0/16", text, of)
	}
	return p, nil
}

// nth returns the address that is n after the first one of p.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// apiService is the address of the API server as pods know it.
func (c *Cluster) apiService() string {
	return nth(netip.MustParsePrefix(c.cfg.ServiceCIDR), 1).String()
}

// Token returns the bootstrap token, ID.SECRET, with which nodes join.
func (c *Cluster) Token() string { return c.token }

// CA returns the certificate of the cluster's authority in PEM.
func (c *Cluster) CA() []byte { return c.pki.cluster.Cert() }

// Endpoint returns the HOST:PORT at which nodes reach the API server.
func (c *Cluster) Endpoint() string { return c.cfg.Endpoint }

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) makeDirs() error {
	for _, name := range []string{"", "pki", "pki/etcd"} {
		if err := os.MkdirAll(c.path(name), 0o700); err != nil {
			return err
		}
		// One that was there may be open to others.
		if err := os.Chmod(c.path(name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// File is a file of a node, below /etc.
type File = join.File

// Files are files of one node.
type Files []File

// Without returns the files without the one of a path.
func (f Files) Without(path string) Files {
	return slices.DeleteFunc(slices.Clone(f), func(one File) bool { return one.Path == path })
}

// Write writes the files below dir, which is made if it is missing, and laid
// out like /etc then. Files that are there are replaced.
func (f Files) Write(dir string) error {
	for _, file := range f {
		if !filepath.IsLocal(file.Path) {
			return fmt.Errorf("write %q: it is not a path below /etc", file.Path)
		}
		path := filepath.Join(dir, file.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := wholefile.Durable(path, file.Data, file.Mode); err != nil {
			return err
		}
	}
	return nil
}
