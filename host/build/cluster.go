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

	"kios/host/arch"
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

	// Bin are the paths, by name, of the programs that run on this machine: kubectl, and,
	// if the nodes are of its architecture, theirs: kubernetes, kube-proxy, etcd, ...
	Bin map[string]string

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

// kubectl is in no image: it is for people.
const kubectl = "kubectl"

// cniNFT and cniPlugins are what an image with cni has besides its program.
const cniNFT = "cni-nft"

var cniPlugins = []string{"ptp", "host-local", "portmap"}

// programs are those of the image.
func (i clusterImage) programs() []string {
	if i.cni {
		return append([]string{i.program, cniNFT}, cniPlugins...)
	}
	return []string{i.program}
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
	return b.cluster(ctx, version, clusterImages)
}

// ClusterWorkers is Cluster without the control plane, for an architecture that only
// other nodes of the cluster have.
func (b *Builder) ClusterWorkers(ctx context.Context, version string) (*ClusterProducts, error) {
	return b.cluster(ctx, version, workerImages())
}

func workerImages() []clusterImage {
	return slices.DeleteFunc(slices.Clone(clusterImages), func(i clusterImage) bool { return !i.every })
}

func (b *Builder) cluster(ctx context.Context, version string, images []clusterImage) (*ClusterProducts, error) {
	p := &ClusterProducts{Kubernetes: version, Versions: map[string]string{}}
	bin, err := b.clusterPrograms(ctx, p, images)
	if err != nil {
		return nil, err
	}
	p.Bin = bin
	if b.Arch.Foreign() {
		p.Bin = programs{kubectl: bin[kubectl]}
	}
	nft, err := b.nftLayer(ctx)
	if err != nil {
		return nil, err
	}
	return p, b.writeClusterImages(ctx, p, images, bin, nft)
}

// clusterPrograms builds the programs of the images, and kubectl, and notes their versions.
func (b *Builder) clusterPrograms(ctx context.Context, p *ClusterProducts, images []clusterImage) (programs, error) {
	wanted := []string{kubectl}
	for _, i := range images {
		wanted = append(wanted, i.programs()...)
	}
	all, err := gobuild.ControlPlane(b.Root, p.Kubernetes)
	if err != nil {
		return nil, err
	}
	bin := programs{}
	for _, program := range append(all, gobuild.AddOns...) {
		if !slices.Contains(wanted, program.Name) {
			continue
		}
		if bin[program.Name], err = gobuild.Build(ctx, b.Log, b.Root, b.clusterTarget(program.Name), program); err != nil {
			return nil, err
		}
		if p.Versions[program.Name], err = program.Version(ctx, b.Root); err != nil {
			return nil, err
		}
	}
	return bin, nil
}

// clusterTarget is where a program runs: on the nodes, or here.
func (b *Builder) clusterTarget(program string) gobuild.Target {
	if program == kubectl {
		return gobuild.Target{Arch: arch.Host()}
	}
	return gobuild.Target{Arch: b.Arch}
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
func (b *Builder) writeClusterImages(ctx context.Context, p *ClusterProducts, images []clusterImage, bin programs, nft layer) error {
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
	for _, i := range images {
		image, err := b.clusterImage(ctx, i, p.Versions, bin, nft)
		switch {
		case err != nil:
			return fmt.Errorf("image %s: %w", i.name, err)
		case i.every:
			node = append(node, image)
		default:
			control = append(control, image)
		}
	}
	return p.writeLayouts(dir, node, control)
}

func (p *ClusterProducts) writeLayouts(dir string, node, control []oci.LayoutImage) error {
	p.Worker = []string{filepath.Join(dir, "node-images")}
	if err := replaceLayout(p.Worker[0], node); err != nil {
		return err
	}
	if len(control) > 0 {
		p.ControlPlane = []string{filepath.Join(dir, "control-plane-images"), p.Worker[0]}
		if err := replaceLayout(p.ControlPlane[0], control); err != nil {
			return err
		}
	}
	return linkPrograms(dir, p.Bin)
}

// linkPrograms puts programs that run here beside the images, for people.
func linkPrograms(dir string, bin map[string]string) error {
	for _, name := range []string{kubectl, "kubernetes", "etcd"} {
		if bin[name] == "" {
			continue
		}
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

func (b *Builder) clusterImage(ctx context.Context, i clusterImage, versions map[string]string, bin programs, nft layer) (oci.LayoutImage, error) {
	image := oci.LayoutImage{Image: oci.Image{
		Name:         fmt.Sprintf("kios.local/%s:%s", i.name, versions[i.program]),
		Architecture: b.Arch.Name,
		Entrypoint:   []string{"/" + i.program},
	}}
	l := layer{
		title:  i.name,
		origin: i.program + " " + versions[i.program],
		files:  []oci.File{{Path: "/" + i.program, Mode: 0o555, From: bin[i.program]}},
		// What all of these projects have.
		licence: "Apache-2.0",
	}
	if i.nft {
		image.Env = []string{"PATH=/usr/sbin"}
		l.files = append(l.files, nft.files...)
	}
	if i.cni {
		image.Env = []string{"PATH=/cni"}
		l.files = append(l.files, cniFiles(bin, nft.files)...)
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
func cniFiles(bin programs, nft []oci.File) []oci.File {
	files := []oci.File{{Path: "/cni/nft", Mode: 0o555, From: bin[cniNFT]}}
	for _, name := range cniPlugins {
		files = append(files, oci.File{Path: "/cni/" + name, Mode: 0o555, From: bin[name]})
	}
	for _, f := range nft {
		if f.Mode.IsRegular() {
			files = append(files, oci.File{Path: "/cni/.nft/" + filepath.Base(f.Path), Mode: 0o555, From: f.From})
		}
	}
	return files
}
