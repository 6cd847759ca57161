package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kios/host/arch"
	"kios/host/clusterconfig"
)

// filesOptions are the flags of "kios cluster files".
type filesOptions struct {
	clusterconfig.Config
	arch              arch.Arch
	node, nodeAddress string
	addresses         []string
	alone             bool
}

func newClusterFilesCommand() *cobra.Command {
	var o filesOptions
	var a *archValue
	cmd := &cobra.Command{
		Use:   "files --endpoint HOST:PORT [flags] OUT",
		Short: "Write the keys and files of a cluster for nodes made by hand",
		Long: `Writes the files that "kios cluster up" makes by itself into the directory OUT, for
machines of your own:

keys/           the cluster's certificates and keys. Keep them: without OUT/keys,
                the command makes a new cluster, which the old nodes do not trust
control-plane/  /etc of the node that runs the control plane
worker/         /etc of every other node. It has no host name: each node takes the
                one that DHCP offers, or makes one of its own
addons.yaml     pod network, service proxy, DNS, and the roles of nodes
admin.conf      the administrator's kubeconfig

Run the command again with the same flags to renew certificates that expire soon
and the token with which workers join. The token is valid for one day.`,
		Example: `  kios cluster files --endpoint 192.0.2.10:6443 my-cluster
  kios image --etc my-cluster/control-plane --oci ... control-plane.img`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("give one directory to write to: kios cluster files --endpoint HOST:PORT [flags] OUT")
			}
			o.arch = a.Arch
			return o.write(args[0])
		},
	}
	o.add(cmd.Flags())
	a = archFlag(cmd, "architecture of the nodes whose disks are explained")
	return cmd
}

func (o *filesOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.Endpoint, "endpoint", "", "`HOST:PORT` at which nodes reach the API server")
	f.StringVar(&o.Name, "name", "kios", "`name` of the cluster in kubeconfigs")
	f.StringVar(&o.Kubernetes, "kubernetes", "", "`version` of the control plane (default: the newest one that can be built)")
	f.StringVar(&o.node, "node", "control-plane", "host `name` of the control plane's node")
	f.StringVar(&o.nodeAddress, "node-address", "", "`address` of the control plane's node (default: the endpoint's, if that is an address)")
	f.StringArrayVar(&o.addresses, "address", nil, "another `address` or name of the API server; may be repeated")
	f.BoolVar(&o.alone, "alone", false, "make a cluster without workers: the control plane's node runs all pods")
	f.StringVar(&o.PodCIDR, "pod-cidr", "", "IPv4 `network` of the pods, /8 to /24 (default 10.244.0.0/16)")
	f.StringVar(&o.ServiceCIDR, "service-cidr", "", "IPv4 `network` of the services (default 10.96.0.0/16)")
	f.StringArrayVar(&o.NodeCIDRs, "node-cidr", nil, "`network` of the nodes; no node gets a serving certificate for an address outside of it; may be repeated")
}

// write writes everything into out.
func (o filesOptions) write(out string) error {
	if o.Endpoint == "" {
		return errors.New("--endpoint HOST:PORT is missing: it says where nodes reach the API server")
	}
	o.Names = append([]string{o.node}, o.addresses...)
	if o.nodeAddress != "" {
		o.Names = append(o.Names, o.nodeAddress)
	}
	c, err := clusterconfig.Open(filepath.Join(out, "keys"), o.Config)
	if err != nil {
		return err
	}
	control, err := c.ControlPlane(clusterconfig.Node{Name: o.node, Address: o.nodeAddress, Alone: o.alone})
	if err != nil {
		return err
	}
	// Its name is a placeholder and is removed again.
	worker, err := c.Worker(clusterconfig.Node{Name: "worker"})
	if err != nil {
		return err
	}
	if err := errors.Join(
		control.Write(filepath.Join(out, "control-plane")),
		worker.Without("hostname").Write(filepath.Join(out, "worker")),
	); err != nil {
		return err
	}
	if err := writeAccess(c, out); err != nil {
		return err
	}
	o.explain(out)
	return nil
}

func writeAccess(c *clusterconfig.Cluster, out string) error {
	admin, err := c.Kubeconfig("")
	if err != nil {
		return err
	}
	addOns, err := c.AddOns()
	if err != nil {
		return err
	}
	return clusterconfig.Files{
		{Path: "admin.conf", Mode: 0o600, Data: admin},
		{Path: "addons.yaml", Mode: 0o600, Data: addOns},
	}.Write(out)
}

// explain says what to do next.
func (o filesOptions) explain(out string) {
	images := filepath.Join("_out", o.arch.Name, "cluster", o.version())
	fmt.Printf(`The files of the cluster are in %[1]s. To make the disks of its nodes:

  kios cluster build --kubernetes %[5]s%[6]s   # the images, in %[2]s
  kios image%[6]s --etc %[1]s/control-plane %[3]scontrol-plane.img
`, out, images, layouts(images, "control-plane-images", "node-images"), o.Endpoint, o.version(), o.arch.Flag())
	if !o.alone {
		fmt.Printf("  kios image%s --etc %s/worker %sworker.img\n", o.arch.Flag(), out, layouts(images, "node-images"))
	}
	fmt.Printf(`
Boot the control plane's disk on a machine with at least 2 GiB of memory that can be
reached at %s. Then run:

  export KUBECONFIG=%s
  kubectl apply -f %s
  kubectl get nodes

docs/control-plane.md explains each step. Keep a copy of %s.
`, o.Endpoint, absolute(filepath.Join(out, "admin.conf")), filepath.Join(out, "addons.yaml"), filepath.Join(out, "keys"))
}

func (o filesOptions) version() string {
	if o.Kubernetes == "" {
		return clusterconfig.DefaultKubernetes
	}
	return o.Kubernetes
}

func layouts(dir string, names ...string) string {
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, "\\\n      --oci %s/%s ", dir, name)
	}
	return text.String() + "\\\n      "
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
