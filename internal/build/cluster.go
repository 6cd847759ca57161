package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kios/internal/debimage"
	"kios/internal/gobuild"
	"kios/internal/oci"
)

// ClusterProducts is what a cluster needs besides its nodes' operating system.
type ClusterProducts struct {
	Kubernetes string            // its version, such as "v1.37.2"
	Versions   map[string]string // of the programs, by name
	Bin        map[string]string // their paths, by name: kubernetes, kube-proxy, kubectl, etcd, ...

	// Archives of images: all that a node with the control plane needs, and
	// what every other node needs.
	ControlPlane, Worker []string
}

// clusterImage is an image of a cluster's pods: programs of the same names in
// its root directory, and what Debian's packages add.
type clusterImage struct {
	name     string   // also of the program whose version is the image's tag
	programs []string // the first is the entry point
	plugins  []string // programs in /plugins
	nft      bool     // with Debian's nft, which the program calls
	every    bool     // for every node, not only for the one with the control plane
}

var clusterImages = []clusterImage{
	{name: "kubernetes", programs: []string{"kubernetes"}},
	{name: "etcd", programs: []string{"etcd"}},
	{name: "kube-proxy", programs: []string{"kube-proxy"}, nft: true, every: true},
	{name: "coredns", programs: []string{"coredns"}, every: true},
	{name: "flannel", programs: []string{"flanneld", "cni-install"}, plugins: []string{"ptp", "host-local", "portmap"}, nft: true, every: true},
}

// NewestControlPlane is the version of Kubernetes that a cluster gets unless
// another one is asked for.
func (b *Builder) NewestControlPlane() (string, error) {
	versions, err := gobuild.ControlPlaneVersions(b.Root)
	if err != nil {
		return "", err
	}
	return versions[0], nil
}

// Cluster builds the control plane of a version of Kubernetes and the add-ons
// of a cluster, and writes their images to _out/<arch>/cluster/VERSION.
func (b *Builder) Cluster(ctx context.Context, version string) (*ClusterProducts, error) {
	p := &ClusterProducts{Kubernetes: version, Versions: map[string]string{}, Bin: map[string]string{}}
	programs, err := gobuild.ControlPlane(b.Root, version)
	if err != nil {
		return nil, err
	}
	for _, program := range append(programs, gobuild.AddOns...) {
		if p.Bin[program.Name], err = gobuild.Build(ctx, b.Log, b.Root, program); err != nil {
			return nil, err
		}
		if p.Versions[program.Name], err = program.Version(ctx, b.Root); err != nil {
			return nil, err
		}
	}
	nft, err := b.nftFiles(ctx)
	if err != nil {
		return nil, err
	}
	step := b.Log.Start("write the images of the cluster")
	return p, step.End(b.writeClusterImages(p, nft))
}

// nftFiles are the files of the program nft.
func (b *Builder) nftFiles(ctx context.Context) ([]oci.File, error) {
	debs, err := b.fetchDebian(ctx)
	if err != nil {
		return nil, err
	}
	layer, err := debianLayer("nft", debimage.Recipe{}, debs) // TODO: debimage.Nft
	if err != nil {
		return nil, err
	}
	return layer.files, layer.check(ctx)
}

func (b *Builder) writeClusterImages(p *ClusterProducts, nft []oci.File) error {
	dir := b.Out("cluster/" + p.Kubernetes)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, image := range clusterImages {
		archive := filepath.Join(dir, image.name+".tar")
		if err := oci.Write(archive, image.files(p, nft)); err != nil {
			return err
		}
		p.ControlPlane = append(p.ControlPlane, archive)
		if image.every {
			p.Worker = append(p.Worker, archive)
		}
	}
	// For people: the programs beside the images.
	for _, name := range []string{"kubectl", "kubernetes", "etcd"} {
		if err := link(filepath.Join(dir, name), p.Bin[name]); err != nil {
			return err
		}
	}
	return nil
}

func (i clusterImage) files(p *ClusterProducts, nft []oci.File) oci.Image {
	image := oci.Image{
		Name:       fmt.Sprintf("kios.local/%s:%s", i.name, p.Versions[i.versionOf()]),
		Entrypoint: []string{"/" + i.programs[0]},
		Env:        []string{"PATH=/:/usr/sbin:/usr/bin"},
	}
	for _, name := range i.programs {
		image.Files = append(image.Files, oci.File{Path: "/" + name, Mode: 0o555, From: p.Bin[name]})
	}
	for _, name := range i.plugins {
		image.Files = append(image.Files, oci.File{Path: "/plugins/" + name, Mode: 0o555, From: p.Bin[name]})
	}
	if i.nft {
		image.Files = append(image.Files, nft...)
	}
	return image
}

// versionOf names the program that has the image's version.
func (i clusterImage) versionOf() string { return i.programs[0] }

// link makes a symbolic link, in place of what is there.
func link(path, target string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(target, path)
}
