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

// clusterImage is an image of a cluster's pods: a program of its name in its
// root directory, and what else that takes.
type clusterImage struct {
	name    string
	program string // also the one whose version is the image's tag
	nft     bool   // with Debian's nft, which the program calls
	cni     bool   // with CNI plugins and the nft that these call, in /cni
	every   bool   // for every node, not only for the one with the control plane
}

// clusterImages are in the order in which a node needs them, and imports them:
// the importer takes archives by their names, which begin with numbers.
var clusterImages = []clusterImage{
	{name: "etcd", program: "etcd"},
	{name: "kubernetes", program: "kubernetes"},
	{name: "flannel", program: "flanneld", cni: true, every: true},
	{name: "kube-proxy", program: "kube-proxy", nft: true, every: true},
	{name: "coredns", program: "coredns", every: true},
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
	layer, err := debianLayer("nft", debimage.Nft, debs)
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
	for i, image := range clusterImages {
		archive := filepath.Join(dir, fmt.Sprintf("%d-%s.tar", i+1, image.name))
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
		Name:       fmt.Sprintf("kios.local/%s:%s", i.name, p.Versions[i.program]),
		Files:      []oci.File{{Path: "/" + i.program, Mode: 0o555, From: p.Bin[i.program]}},
		Entrypoint: []string{"/" + i.program},
	}
	if i.nft {
		image.Env = []string{"PATH=/usr/sbin"}
		image.Files = append(image.Files, nft...)
	}
	if i.cni {
		image.Env = []string{"PATH=/cni"}
		image.Files = append(image.Files, cniFiles(p, nft)...)
	}
	return image
}

// cniFiles are what flannel's pod copies to a node's /opt/cni/bin: plugins, and
// an nft that works there, where no library is; see upstream/cni/nft.
func cniFiles(p *ClusterProducts, nft []oci.File) []oci.File {
	files := []oci.File{{Path: "/cni/nft", Mode: 0o555, From: p.Bin["cni-nft"]}}
	for _, name := range []string{"ptp", "host-local", "portmap"} {
		files = append(files, oci.File{Path: "/cni/" + name, Mode: 0o555, From: p.Bin[name]})
	}
	for _, f := range nft {
		if f.Mode.IsRegular() {
			files = append(files, oci.File{Path: "/cni/.nft/" + filepath.Base(f.Path), Mode: 0o555, From: f.From})
		}
	}
	return files
}

// link makes a symbolic link, in place of what is there.
func link(path, target string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(target, path)
}
