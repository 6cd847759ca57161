package build

import (
	"context"
	"fmt"
	"path/filepath"

	"kios/internal/oci"
	"kios/internal/pause"
)

// buildImages writes the archives of the bundled images, and of the example
// beside kios.efi. It returns the paths of the bundled ones.
func (b *Builder) buildImages(ctx context.Context, bins programs) ([]string, error) {
	pauseBin := b.Out("pause")
	if err := pause.Build(ctx, "gcc", filepath.Join(b.Root, "cmd/pause/pause.c"), pauseBin); err != nil {
		return nil, err
	}
	for _, image := range []struct{ archive, name, program, from, user string }{
		{"pause.tar", "kios.local/pause:1", "/pause", pauseBin, "65535:65535"},
		{"system.tar", b.systemImage(), "/system", bins["system"], ""},
		{"hello.tar", "kios.local/hello:1", "/hello", bins["hello"], ""},
	} {
		if err := WriteImage(b.Out(image.archive), image.name, image.program, image.from, image.user); err != nil {
			return nil, err
		}
	}
	return []string{b.Out("pause.tar"), b.Out("system.tar")}, nil
}

// WriteImage writes an archive of an image that is one static program, from
// the file from, and runs as user (root if that is empty).
func WriteImage(archive, name, program, from, user string) error {
	err := oci.Write(archive, oci.Image{
		Name:       name,
		Files:      []oci.File{{Path: program, Mode: 0o555, From: from}},
		Entrypoint: []string{program},
		User:       user,
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	return nil
}
