package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"kios/host/diskimage"
	"kios/host/join"
	"kios/internal/discovery"
)

// joinFlags are the flags of "kios image" that say which cluster a node joins.
// Those that "kubeadm join" has, too, have the names that they have there.
type joinFlags struct {
	join.Options
	to     string
	ca     string
	hashes []string
}

func (f *joinFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "join", "", "join the cluster whose API server is at `HOST:PORT`, with --token and the cluster's CA, or join with this kubeconfig file")
	flags.StringVar(&f.Token, "token", "", "with --join: bootstrap token, `ID.SECRET`")
	flags.StringVar(&f.ca, "ca", "", "with --join: `file` with the cluster's CA certificate, /etc/kubernetes/pki/ca.crt on its control plane")
	flags.StringArrayVar(&f.hashes, "discovery-token-ca-cert-hash", nil, "with --join, in place of --ca: ask the API server for the CA certificate whose hash is `sha256:HEX`")
	flags.StringArrayVar(&f.ClusterDNS, "cluster-dns", nil, "with --join: `address` of the cluster's DNS service (default "+join.DefaultDNS+")")
	flags.StringVar(&f.ClusterDomain, "cluster-domain", "", "with --join: the cluster's `domain` (default "+join.DefaultDomain+")")
	flags.StringVar(&f.Name, "node-name", "", "with --join: `name` of the node (default: the name from DHCP, or one derived from the machine)")
	flags.StringVar(&f.NodeIP, "node-ip", "", "with --join: `address` of the node, or an IPv4 and an IPv6 address with a comma between them")
	flags.StringArrayVar(&f.Labels, "node-label", nil, "with --join: label of the node, `KEY=VALUE`; may be repeated")
	flags.StringArrayVar(&f.Taints, "node-taint", nil, "with --join: taint of the node, `KEY=VALUE:EFFECT`; may be repeated")
	neverEmpty(flags, "join", "ca")
}

// files returns the node's files below /etc, none without --join.
func (f joinFlags) files(ctx context.Context) ([]join.File, error) {
	if f.to == "" {
		if f.given() {
			return nil, errors.New("--token, --ca, --discovery-token-ca-cert-hash, --cluster-dns, --cluster-domain and --node-... need --join HOST:PORT")
		}
		return nil, nil
	}
	if err := f.access(ctx); err != nil {
		return nil, fmt.Errorf("--join %s: %w", f.to, err)
	}
	files, err := join.Files(f.Options)
	if err != nil {
		return nil, fmt.Errorf("--join %s: %w", f.to, err)
	}
	return files, nil
}

func (f joinFlags) given() bool {
	return f.Token+f.ca+f.ClusterDomain+f.Name+f.NodeIP != "" || len(f.hashes)+len(f.ClusterDNS)+len(f.Labels)+len(f.Taints) > 0
}

// access finds how the node gets at the API server: a kubeconfig, or what makes
// one.
func (f *joinFlags) access(ctx context.Context) (err error) {
	if info, statErr := os.Stat(f.to); statErr == nil && info.Mode().IsRegular() {
		if f.Token != "" || f.ca != "" || f.hashes != nil {
			return errors.New("it is a kubeconfig, which has its own credentials and CA; leave out --token, --ca and --discovery-token-ca-cert-hash")
		}
		f.Kubeconfig, err = os.ReadFile(f.to)
		return err
	}
	f.Server = f.to
	if _, err := discovery.ServerURL(f.to); err != nil {
		return fmt.Errorf("no such file, and %w", err)
	}
	if err := discovery.CheckToken(f.Token); err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	switch {
	case f.ca != "" && f.hashes != nil:
		return errors.New("give either --ca or --discovery-token-ca-cert-hash, not both")
	case f.ca != "":
		if f.CA, err = os.ReadFile(f.ca); err != nil {
			err = fmt.Errorf("--ca: %w", err)
		}
	case f.hashes != nil:
		var c discovery.Cluster
		c, err = discovery.Pinned(ctx, f.to, f.hashes)
		f.CA = c.CA
	default:
		err = errors.New("the node cannot verify the API server: give --ca FILE (/etc/kubernetes/pki/ca.crt on the control plane) or --discovery-token-ca-cert-hash")
	}
	return err
}

// extra lays the files over what --etc brings, which must not have the same.
func extra(files []join.File, etc string) (map[string]diskimage.File, error) {
	extra := map[string]diskimage.File{}
	for _, file := range files {
		if etc != "" {
			path := filepath.Join(etc, file.Path)
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s and --join both set the node's /etc/%s; remove one of them", path, file.Path)
			}
		}
		extra[filepath.Join("meta/etc", file.Path)] = diskimage.File{Mode: file.Mode, Data: file.Data}
	}
	return extra, nil
}

// describe says which cluster the node of an image joins, and with what it may
// have gone by defaults that are wrong: pods would find no service by its name.
func (f joinFlags) describe() {
	fmt.Printf("  joins %s\n", f.to)
	if len(f.ClusterDNS) == 0 {
		fmt.Printf("        using %s as its DNS service; if kubectl get service -n kube-system kube-dns shows another address, give that with --cluster-dns\n", join.DefaultDNS)
	}
}
