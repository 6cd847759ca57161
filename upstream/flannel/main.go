// Flanneld joins the pod networks of a cluster's nodes: it is flannel, with its
// host-gw backend and its leases kept in Node objects, and with our own main
// around these packages. Upstream's
//
//   - links every backend, etcd's client and clouds' SDKs, one of which the module
//     proxy does not have;
//   - ends when the node has no pod CIDR yet, so that a new node waits for the
//     kubelet's back-off;
//   - calls nft nine times before pods can start, where once is enough;
//   - leaves the CNI plugins and their configuration to other containers, each of
//     which costs a start;
//   - does not see that the node's address changed.
//
// Left out: IPv6, other backends, and rules that accept forwarded packets: a kiOS
// node drops none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/backend/hostgw"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/version"
	"k8s.io/klog/v2"

	"kios/upstream/flannel/cni"
)

// annotations is the prefix of what flannel writes into Node objects.
const annotations = "flannel.alpha.coreos.com"

// retry is the pause before the API server is asked again. The asking itself
// waits for answers, so this is short.
const retry = 250 * time.Millisecond

type options struct {
	network    string // flannel's network configuration, a file
	kubeconfig string
	node       string // its name
	address    string // of the node, at which the others reach it
	cni        cni.Paths
}

func main() {
	var o options
	printVersion := flag.Bool("version", false, "print the version and exit")
	flag.StringVar(&o.network, "network", "/etc/flannel/network.json", "flannel's network configuration")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "/etc/flannel/kubeconfig", "kubeconfig for the API server")
	flag.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "name of this node")
	flag.StringVar(&o.address, "address", os.Getenv("NODE_ADDRESS"), "IPv4 address of this node")
	flag.StringVar(&o.cni.Plugins, "cni-plugins", "/cni", "where the CNI plugins are")
	flag.StringVar(&o.cni.Bin, "cni-bin", "/host/opt/cni/bin", "where containerd looks for them")
	flag.StringVar(&o.cni.Etc, "cni-etc", "/host/etc/cni/net.d", "where containerd looks for their configuration")
	flag.StringVar(&o.cni.Run, "cni-run", "/run/flannel", "where that configuration is kept, under the same path for containerd")
	klog.InitFlags(nil)
	flag.Parse()
	if *printVersion {
		fmt.Println(version.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Routes and rules stay: pods go on while there is no flanneld.
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		klog.Errorf("%v", err)
		klog.Flush()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.node == "" || o.address == "" {
		return errors.New("the node's name or its address is not known: set NODE_NAME and NODE_ADDRESS")
	}
	if err := cni.Install(o.cni); err != nil {
		return fmt.Errorf("install the CNI plugins: %w", err)
	}
	external, err := ipmatch.LookupExtIface(o.address, "", "", 0 /* IPv4 */, ipmatch.PublicIPOpts{})
	if err != nil {
		return fmt.Errorf("find the interface with this node's address %s: %w", o.address, err)
	}
	changed, err := watchAddress(ctx, external)
	if err != nil {
		return err
	}
	config, err := readConfig(o.network)
	if err != nil {
		return err
	}
	if err := masquerade(ctx, config.Network.String()); err != nil {
		return err
	}
	network, err := join(ctx, o, external, config)
	if err != nil {
		return err
	}
	go network.Run(ctx) // keeps the routes to the other nodes
	select {
	case <-ctx.Done():
		return nil
	case err := <-changed:
		return err
	}
}

// join gets this node's subnet and lets containerd start pods in it.
func join(ctx context.Context, o options, external *backend.ExternalInterface, config *subnet.Config) (backend.Network, error) {
	leases, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	network, err := register(ctx, leases, external, config)
	if err != nil {
		return nil, err
	}
	lease := network.Lease()
	if err := refuse(lease.Subnet.ToIPNet()); err != nil {
		return nil, err
	}
	// Now containerd may start pods.
	if err := cni.Configure(o.cni, lease.Subnet.String(), network.MTU()); err != nil {
		return nil, fmt.Errorf("write the configuration of CNI: %w", err)
	}
	if err := leases.CompleteLease(ctx, lease, nil); err != nil {
		return nil, fmt.Errorf("tell the API server that the network is there: %w", err)
	}
	klog.Infof("pods of this node get addresses of %v", lease.Subnet)
	return network, nil
}

// readConfig reads the configuration of the network.
func readConfig(path string) (*subnet.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the network's configuration: %w", err)
	}
	config, err := subnet.ParseConfig(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the network's configuration %s: %w", path, err)
	}
	if config.BackendType != "host-gw" || !config.EnableNFTables || config.EnableIPv6 || config.Network.Empty() {
		return nil, fmt.Errorf(`%s: this flanneld takes a "Network" of IPv4, "EnableNFTables": true and "Backend": {"Type": "host-gw"}`, path)
	}
	return config, nil
}

// open returns the store of leases.
func open(ctx context.Context, o options) (subnet.Manager, error) {
	os.Setenv("NODE_NAME", o.node) // the only way to tell it
	leases, err := kube.NewSubnetManager(ctx, "", o.kubeconfig, annotations, o.network, true)
	if errors.Is(err, context.DeadlineExceeded) {
		klog.Warning("the API server does not answer yet")
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.kubeconfig, err)
	}
	return leases, nil
}

// register waits until this node has a pod CIDR, and makes it known together
// with the node's address.
func register(ctx context.Context, leases subnet.Manager, external *backend.ExternalInterface, config *subnet.Config) (backend.Network, error) {
	b, err := hostgw.New(leases, external)
	if err != nil {
		return nil, err
	}
	last := ""
	for {
		network, err := b.RegisterNetwork(ctx, &sync.WaitGroup{}, config)
		if err == nil {
			return network, nil
		}
		if err.Error() != last {
			last = err.Error()
			klog.Warningf("waiting: %v", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retry):
		}
	}
}
