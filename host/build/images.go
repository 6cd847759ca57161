package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kios/host/cache"
	"kios/host/debimage"
	"kios/host/oci"
	"kios/host/qemu"
)

// layer is a layer of the images of the OS.
type layer struct {
	title, origin, licence string
	files                  []oci.File
	check                  func(context.Context) error // or nil
}

// bundledImage is an image of the OS, as a list of layers.
type bundledImage struct {
	name, program, user string
	layers              []string
}

// bundled are the images of the OS. The system pods share the layer with our
// program, in the image and in the node's page cache.
func bundled(pods []SystemPod) []bundledImage {
	all := []bundledImage{
		{"pause:1", "/pause", "65535:65535", []string{"pause"}},
		{"system:VERSION", "/system", "", []string{"system"}},
	}
	for _, p := range pods {
		if p.recipe != nil {
			all = append(all, bundledImage{p.Name + ":VERSION", "/system", "", []string{"system", p.recipe.Title}})
		}
	}
	return all
}

// buildImages writes the images of the OS as a layout into the directory
// images, and as archives, beside it, those that the example and the benchmark
// need.
func (b *Builder) buildImages(ctx context.Context, debs debianPackages, bins programs, pods []SystemPod) error {
	pauseBin := b.Out("pause")
	if err := compilePause(ctx, b.Arch, filepath.Join(b.Root, "pods/pause/pause.c"), pauseBin); err != nil {
		return err
	}
	if err := b.writeLayout(ctx, debs, bins, pods, pauseBin); err != nil {
		return fmt.Errorf("write the images of the OS: %w", err)
	}
	if err := b.WriteImage(b.Out("pause.tar"), "kios.local/pause:1", "/pause", pauseBin, "65535:65535"); err != nil {
		return err
	}
	return b.WriteImage(b.Out("hello.tar"), "kios.local/hello:1", "/hello", bins["hello"], "")
}

func (b *Builder) writeLayout(ctx context.Context, debs debianPackages, bins programs, pods []SystemPod, pauseBin string) error {
	layers, err := b.layers(debs, bins, pods, pauseBin)
	if err != nil {
		return err
	}
	made := map[string]oci.Layer{}
	for _, l := range layers {
		file, err := b.makeLayer(ctx, l)
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.title, err)
		}
		made[l.title] = oci.Layer{Title: l.title, Origin: l.origin, Licence: l.licence, From: file}
	}
	var images []oci.LayoutImage
	for _, i := range bundled(pods) {
		image := oci.LayoutImage{Image: oci.Image{Name: b.imageName(i.name), Architecture: b.Arch.Name, Entrypoint: []string{i.program}, User: i.user}}
		for _, title := range i.layers {
			image.Layers = append(image.Layers, made[title])
		}
		images = append(images, image)
	}
	return replaceLayout(b.Out("images"), images)
}

func (b *Builder) layers(debs debianPackages, bins programs, pods []SystemPod, pauseBin string) ([]layer, error) {
	own := func(title, path, from string) layer {
		return layer{title, "kiOS " + b.Versions.KiOS, licences[fromKiOS], []oci.File{{Path: path, Mode: 0o555, From: from}}, nil}
	}
	all := []layer{own("pause", "/pause", pauseBin), own("system", "/system", bins["system"])}
	for _, p := range pods {
		if p.recipe == nil {
			continue
		}
		l, err := b.debianLayer(*p.recipe, debs)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// debianLayer is a layer of files of Debian packages.
func (b *Builder) debianLayer(r debimage.Recipe, debs debianPackages) (layer, error) {
	trees, versions := map[string]string{}, map[string]string{}
	for _, p := range r.Packages {
		if d, found := debs[p.Name]; found {
			trees[p.Name], versions[p.Name] = d.dir, d.Version
		}
	}
	files, err := r.Collect(b.Arch, trees)
	if err != nil {
		return layer{}, fmt.Errorf("layer %s: %w", r.Title, err)
	}
	check := func(ctx context.Context) error {
		qemu, err := b.UserEmulator(ctx)
		if err != nil {
			return err
		}
		return r.Check(ctx, files, versions, qemu)
	}
	return layer{r.Title, r.Origin(versions), r.Licence(), files, check}, nil
}

// UserEmulator returns the program that runs those of the node on this machine, "" if
// they run by themselves.
func (b *Builder) UserEmulator(ctx context.Context) (string, error) {
	if !b.Arch.Foreign() {
		return "", nil
	}
	return qemu.User(ctx, b.Log, b.Arch, b.Versions.Debian.Suites, b.Versions.Tools[qemu.UserPackage])
}

// makeLayer makes the EROFS image of a layer and returns its path.
func (b *Builder) makeLayer(ctx context.Context, l layer) (string, error) {
	dir, remove, err := cache.Scratch("layer-")
	if err != nil {
		return "", err
	}
	defer remove()
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	for _, f := range l.files {
		if err := f.Place(ctx, dir); err != nil {
			return "", err
		}
	}
	return b.makeErofs(ctx, dir, "layer-"+l.title, l.check)
}

// WriteImage writes an archive of an image that is one static program, from
// the file from, and runs as user (root if that is empty).
func (b *Builder) WriteImage(archive, name, program, from, user string) error {
	err := oci.Write(archive, oci.Image{
		Name:         name,
		Architecture: b.Arch.Name,
		Files:        []oci.File{{Path: program, Mode: 0o555, From: from}},
		Entrypoint:   []string{program},
		User:         user,
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	return nil
}
