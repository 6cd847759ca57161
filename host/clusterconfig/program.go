package clusterconfig

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kios/internal/wholefile"
)

// Ports on the loopback interface of the control plane's machine.
const (
	etcdPort        = 2379
	etcdPeerPort    = 2380
	etcdMetricsPort = 2381
	managerPort     = 10257
	schedulerPort   = 10259
)

// place is where the programs of a control plane find what they need: a node,
// or the host for which they are ordinary processes.
type place struct {
	config    string // the directory with pki and the kubeconfigs
	data      string // that of etcd
	advertise string // the address of the API server; "" for that of the default route
	node      string // its name, "" for the host
}

// onNode is the same on each node: a static pod's volumes are mounted where they
// are on the node.
func onNode(n Node) place {
	return place{config: "/etc/kubernetes", data: "/var/lib/etcd/data", advertise: n.Address, node: n.Name}
}

func (p place) file(name string) string { return filepath.Join(p.config, name) }

// program is one of the control plane's, with the same arguments on a node and
// on the host.
type program struct {
	name   string
	binary string   // of ClusterProducts, and the entry point of its image
	prefix []string // arguments before the flags
	flags  []flag
	ready  string // see Process
}

type flag struct{ name, value string }

func (f flag) String() string { return "--" + f.name + "=" + f.value }

// args are the arguments after the name of the binary.
func (p program) args() []string {
	args := p.prefix
	for _, f := range p.flags {
		args = append(args, f.String())
	}
	return args
}

// files are the flags' values that are files in the place.
func (p program) files(at place) []string {
	var files []string
	seen := map[string]bool{}
	for _, f := range p.flags {
		if strings.HasPrefix(f.value, at.config+"/") && !seen[f.value] {
			seen[f.value] = true
			files = append(files, f.value)
		}
	}
	return files
}

// programs lists the control plane.
func (c *Cluster) programs(at place) []program {
	return []program{c.etcd(at), c.apiServer(at), c.controllerManager(at), c.scheduler(at), c.approver(at)}
}

// component is a program of Kubernetes, all of which are in one binary. It
// starts its work once the URL answers: the alternative, to exit and be started
// again, costs the machine its slowest part, loading and initialising the
// program, over and over, and the back-off between.
func component(name, after string, flags []flag, ready string) program {
	return program{name, "kubernetes", []string{"--after=" + after, name}, flags, ready}
}

// etcd is for the API server only, so it is reached on the loopback interface,
// and by clients of its authority: what else runs in the node's network is
// not let in. Its health is at a port of its own, without the data.
func (c *Cluster) etcd(at place) program {
	peer := fmt.Sprintf("https://127.0.0.1:%d", etcdPeerPort)
	flags := []flag{
		{"name", "etcd"},
		{"data-dir", at.data},
		{"listen-client-urls", c.etcdURL()},
		{"advertise-client-urls", c.etcdURL()},
		{"listen-peer-urls", peer}, // needed even by a single member
		{"initial-advertise-peer-urls", peer},
		{"initial-cluster", "etcd=" + peer},
		{"listen-metrics-urls", fmt.Sprintf("http://127.0.0.1:%d", etcdMetricsPort)},
		{"client-cert-auth", "true"},
		{"trusted-ca-file", at.file("pki/etcd/ca.crt")},
		{"cert-file", at.file("pki/etcd/server.crt")},
		{"key-file", at.file("pki/etcd/server.key")},
		{"peer-client-cert-auth", "true"},
		{"peer-trusted-ca-file", at.file("pki/etcd/ca.crt")},
		{"peer-cert-file", at.file("pki/etcd/peer.crt")},
		{"peer-key-file", at.file("pki/etcd/peer.key")},
		{"snapshot-count", "10000"},                   // as kubeadm has it: less memory than the default
		{"watch-progress-notify-interval", "5s"},      // the API server reads from its cache by it
		{"feature-gates", "InitialCorruptCheck=true"}, // a damaged disk is noticed at the start
	}
	if at.node == "" {
		// A test's data need not outlive the machine's power.
		flags = append(flags, flag{"unsafe-no-fsync", "true"})
	}
	return program{"etcd", "etcd", nil, flags, etcdReady}
}

var etcdReady = fmt.Sprintf("http://127.0.0.1:%d/readyz", etcdMetricsPort)

func (c *Cluster) etcdURL() string { return fmt.Sprintf("https://127.0.0.1:%d", etcdPort) }

func (c *Cluster) apiServer(at place) program {
	flags := []flag{
		{"secure-port", strconv.Itoa(c.port)},
		{"etcd-servers", c.etcdURL()},
		{"etcd-cafile", at.file("pki/etcd/ca.crt")},
		{"etcd-certfile", at.file("pki/apiserver-etcd-client.crt")},
		{"etcd-keyfile", at.file("pki/apiserver-etcd-client.key")},
		{"tls-cert-file", at.file("pki/apiserver.crt")},
		{"tls-private-key-file", at.file("pki/apiserver.key")},
		{"client-ca-file", at.file("pki/ca.crt")},
		{"authentication-config", at.file(authenticationFile)},
		{"authorization-mode", "Node,RBAC"},
		{"enable-admission-plugins", "NodeRestriction"}, // a node changes itself and its own pods only
		{"enable-bootstrap-token-auth", "true"},
		{"allow-privileged", "true"},
		{"profiling", "false"},
		// Tell watchers to go. Without it the end waits for them, for a minute.
		{"shutdown-watch-termination-grace-period", "10s"},
		// Kubelets show certificates that the cluster signed. Nobody in between
		// reads what goes to a pod's shell, as without this flag.
		{"kubelet-certificate-authority", at.file("pki/ca.crt")},
		{"kubelet-client-certificate", at.file("pki/apiserver-kubelet-client.crt")},
		{"kubelet-client-key", at.file("pki/apiserver-kubelet-client.key")},
		{"kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname"},
		{"service-cluster-ip-range", c.cfg.ServiceCIDR},
		{"service-account-issuer", "https://kubernetes.default.svc.cluster.local"},
		{"service-account-key-file", at.file("pki/sa.pub")},
		{"service-account-signing-key-file", at.file("pki/sa.key")},
		// The front proxy is the API server itself, before API servers of others.
		{"proxy-client-cert-file", at.file("pki/front-proxy-client.crt")},
		{"proxy-client-key-file", at.file("pki/front-proxy-client.key")},
		{"requestheader-client-ca-file", at.file("pki/front-proxy-ca.crt")},
		{"requestheader-allowed-names", "front-proxy-client"},
		{"requestheader-username-headers", "X-Remote-User"},
		{"requestheader-group-headers", "X-Remote-Group"},
		{"requestheader-extra-headers-prefix", "X-Remote-Extra-"},
	}
	if at.advertise != "" {
		flags = append(flags, flag{"advertise-address", at.advertise})
	}
	return component("kube-apiserver", etcdReady, flags, c.apiReady())
}

func (c *Cluster) apiReady() string { return c.loopback() + "/readyz" }

func (c *Cluster) controllerManager(at place) program {
	conf := at.file("controller-manager.conf")
	flags := []flag{
		{"kubeconfig", conf},
		{"authentication-kubeconfig", conf},
		{"authorization-kubeconfig", conf},
		{"bind-address", "127.0.0.1"},
		{"secure-port", strconv.Itoa(managerPort)},
		{"leader-elect", "false"}, // there is one; after a crash it need not wait for its own lease to end
		{"profiling", "false"},
		{"controllers", "*,tokencleaner"},
		{"use-service-account-credentials", "true"}, // each controller has its own role
		{"service-account-private-key-file", at.file("pki/sa.key")},
		{"root-ca-file", at.file("pki/ca.crt")},
		{"client-ca-file", at.file("pki/ca.crt")},
		{"requestheader-client-ca-file", at.file("pki/front-proxy-ca.crt")},
		{"cluster-name", c.cfg.Name},
		{"cluster-signing-cert-file", at.file("pki/ca.crt")},
		{"cluster-signing-key-file", at.file("pki/ca.key")},
		{"allocate-node-cidrs", "true"},
		{"cluster-cidr", c.cfg.PodCIDR},
		{"service-cluster-ip-range", c.cfg.ServiceCIDR},
	}
	if d := c.cfg.NodeCertificates; d != 0 {
		flags = append(flags, flag{"cluster-signing-duration", d.String()})
	}
	return component("kube-controller-manager", c.apiReady(), flags, fmt.Sprintf("https://127.0.0.1:%d/healthz", managerPort))
}

func (c *Cluster) scheduler(at place) program {
	conf := at.file("scheduler.conf")
	flags := []flag{
		{"kubeconfig", conf},
		{"authentication-kubeconfig", conf},
		{"authorization-kubeconfig", conf},
		{"bind-address", "127.0.0.1"},
		{"secure-port", strconv.Itoa(schedulerPort)},
		{"leader-elect", "false"},
		{"profiling", "false"},
	}
	return component("kube-scheduler", c.apiReady(), flags, fmt.Sprintf("https://127.0.0.1:%d/readyz", schedulerPort))
}

// approver listens nowhere. Should it lose the API server it connects again. No
// node is let pass for a service, a pod, or the API server, whatever it says it is:
// but the one that the API server runs on.
func (c *Cluster) approver(at place) program {
	forbidden := []string{c.cfg.ServiceCIDR, c.cfg.PodCIDR}
	for _, name := range append([]string{c.host, at.node, at.advertise}, c.cfg.Names...) {
		address, err := netip.ParseAddr(name)
		loopback := err == nil && address.IsLoopback() // no node's in any case
		if name != "" && !loopback && !slices.Contains(forbidden, name) {
			forbidden = append(forbidden, name)
		}
	}
	flags := []flag{
		{"kubeconfig", at.file("approver.conf")},
		{"forbidden", strings.Join(forbidden, ",")},
	}
	if at.node != "" {
		flags = append(flags, flag{"api-server-nodes", at.node})
	}
	if len(c.cfg.NodeCIDRs) > 0 {
		flags = append(flags, flag{"allowed-cidrs", strings.Join(c.cfg.NodeCIDRs, ",")})
	}
	return component("kubelet-serving-approver", c.apiReady(), flags, "")
}

// authenticationFile says that strangers may ask for the API server's health and
// for nothing else: the kubelet probes it without a certificate.
const authenticationFile = "authentication.yaml"

const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
    - path: /livez
    - path: /readyz
    - path: /healthz
`

func (c *Cluster) writeAuthentication() error {
	return wholefile.Durable(c.path(authenticationFile), []byte(authentication), 0o600)
}

// Process is a program of the control plane as a process of this machine.
type Process struct {
	Name string
	Argv []string
	// Ready is a URL on the loopback interface that answers 200 once the process
	// does its work, or "". Its certificate is for nobody to check.
	Ready string
}

// Processes returns the control plane as processes of this machine, which keep
// their data below the cluster's directory. All can be started at once.
// The binaries are those of ClusterProducts.
func (c *Cluster) Processes(bin map[string]string) ([]Process, error) {
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return nil, err
	}
	at := place{config: dir, data: filepath.Join(dir, "etcd"), advertise: c.advertise}
	var all []Process
	for _, p := range c.programs(at) {
		path := bin[p.binary]
		if path == "" {
			return nil, fmt.Errorf("the program %s for %s is missing; build it with kios cluster build", p.binary, p.name)
		}
		all = append(all, Process{Name: p.name, Argv: append([]string{path}, p.args()...), Ready: p.ready})
	}
	return all, nil
}
