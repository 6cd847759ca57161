package build

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kios/host/cache"
	"kios/host/debimage"
	"kios/host/filetree"
	"kios/host/gobuild"
	"kios/host/oci"
)

// ClusterProducts is what a cluster needs besides its nodes' operating system.
type ClusterProducts struct {
	Kubernetes string            // its version, such as "v1.37.2"
	Versions   map[string]string // of the programs, by name
	Bin        map[string]string // their paths, by name: kubernetes, kube-proxy, kubectl, etcd, ...

	// Layouts of images, which nodes use in place: all that a node with the
	// control plane needs, and what every other node needs.
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

var clusterImages = []clusterImage{
	{name: "etcd", program: "etcd"},
	{name: "kubernetes", program: "kubernetes"},
	{name: "kube-proxy", program: "kube-proxy", nft: true, every: true},
	{name: "coredns", program: "coredns", every: true},
	{name: "flannel", program: "flanneld", cni: true, every: true},
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

// HasControlPlane reports whether a version can be built.
func (b *Builder) HasControlPlane(version string) bool {
	versions, err := gobuild.ControlPlaneVersions(b.Root)
	return err == nil && slices.Contains(versions, version)
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
		if p.Bin[program.Name], err = gobuild.Build(ctx, b.Log, b.Root, gobuild.Target{Arch: b.Arch}, program); err != nil {
			return nil, err
		}
		if p.Versions[program.Name], err = program.Version(ctx, b.Root); err != nil {
			return nil, err
		}
	}
	nft, err := b.nftLayer(ctx)
	if err != nil {
		return nil, err
	}
	return p, b.writeClusterImages(ctx, p, nft)
}

//go:embed nft.yaml
var nftRecipe []byte

// nftLayer has the files of the program nft.
func (b *Builder) nftLayer(ctx context.Context) (layer, error) {
	debs, err := b.fetchDebian(ctx)
	if err != nil {
		return layer{}, err
	}
	recipe, err := debimage.ParseRecipe(nftRecipe)
	if err != nil {
		return layer{}, fmt.Errorf("nft.yaml: %w", err)
	}
	return b.debianLayer(recipe, debs)
}

// writeClusterImages writes a layout with what every node needs, and one with
// what the control plane needs besides.
func (b *Builder) writeClusterImages(ctx context.Context, p *ClusterProducts, nft layer) error {
	dir := b.Out("cluster/" + p.Kubernetes)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := cache.Lock(ctx, b.Log, dir+".lock") // every "kios cluster up" comes here
	if err != nil {
		return err
	}
	defer unlock()
	var node, control []oci.LayoutImage
	for _, i := range clusterImages {
		image, err := b.clusterImage(ctx, i, p, nft)
		switch {
		case err != nil:
			return fmt.Errorf("image %s: %w", i.name, err)
		case i.every:
			node = append(node, image)
		default:
			control = append(control, image)
		}
	}
	p.Worker = []string{filepath.Join(dir, "node-images")}
	p.ControlPlane = []string{filepath.Join(dir, "control-plane-images"), p.Worker[0]}
	if err := errors.Join(replaceLayout(p.Worker[0], node), replaceLayout(p.ControlPlane[0], control)); err != nil {
		return err
	}
	return linkPrograms(dir, p.Bin)
}

// linkPrograms puts programs beside the images, for people.
func linkPrograms(dir string, bin map[string]string) error {
	for _, name := range []string{"kubectl", "kubernetes", "etcd"} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := filetree.Symlink(path, bin[name]); err != nil {
			return err
		}
	}
	return nil
}

// replaceLayout writes a layout in place of the one that is there, unless that is
// the same: another process may make a disk with it.
func replaceLayout(dir string, images []oci.LayoutImage) error {
	tmp := dir + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), oci.WriteLayout(tmp, images)); err != nil {
		return err
	}
	index, err := os.ReadFile(filepath.Join(tmp, "index.json")) // has the digests of all
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(filepath.Join(dir, "index.json")); err == nil && bytes.Equal(old, index) {
		return os.RemoveAll(tmp)
	}
	return errors.Join(os.RemoveAll(dir), os.Rename(tmp, dir))
}

func (b *Builder) clusterImage(ctx context.Context, i clusterImage, p *ClusterProducts, nft layer) (oci.LayoutImage, error) {
	image := oci.LayoutImage{Image: oci.Image{
		Name:         fmt.Sprintf("kios.local/%s:%s", i.name, p.Versions[i.program]),
		Architecture: b.Arch.Name,
		Entrypoint:   []string{"/" + i.program},
	}}
	l := layer{
		title:  i.name,
		origin: i.program + " " + p.Versions[i.program],
		files:  []oci.File{{Path: "/" + i.program, Mode: 0o555, From: p.Bin[i.program]}},
		// What all of these projects have.
		licence: "Apache-2.0",
	}
	if i.nft {
		image.Env = []string{"PATH=/usr/sbin"}
		l.files = append(l.files, nft.files...)
	}
	if i.cni {
		image.Env = []string{"PATH=/cni"}
		l.files = append(l.files, cniFiles(p, nft.files)...)
	}
	if i.nft || i.cni {
		l.check, l.origin, l.licence = nft.check, l.origin+", "+nft.origin, l.licence+" AND "+nft.licence
	}
	file, err := b.makeLayer(ctx, l)
	image.Layers = []oci.Layer{{Title: l.title, Origin: l.origin, Licence: l.licence, From: file}}
	return image, err
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
