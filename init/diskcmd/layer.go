package diskcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// imagesDir is the layout of the system's images. Tests have another one.
var imagesDir = "/usr/share/kios/images"

const (
	toolsLayer = "disktools" // of the pod disk
	titleKey   = "org.opencontainers.image.title"
)

// maxJSON bounds the files of the layout that are read into memory.
const maxJSON = 1 << 20

type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// findLayer returns the path of the layer with a title in an OCI image layout.
func findLayer(dir, title string) (string, error) {
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return "", err
	}
	for _, m := range index.Manifests {
		var manifest struct {
			Layers []descriptor `json:"layers"`
		}
		if err := readJSON(blob(dir, m), &manifest); err != nil {
			return "", err
		}
		for _, l := range manifest.Layers {
			if l.Annotations[titleKey] == title {
				return blob(dir, l), nil
			}
		}
	}
	return "", fmt.Errorf("no image in %s has the layer %s", dir, title)
}

func blob(dir string, d descriptor) string {
	algorithm, hex, _ := strings.Cut(d.Digest, ":")
	return filepath.Join(dir, "blobs", filepath.Base(algorithm), filepath.Base(hex))
}

func readJSON(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(text) > maxJSON {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
