//go:build conformance

package conformance

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"kios/host/arch"
	"kios/host/oci"
	"kios/test/lab"
)

const registryAddress = gateway + ":5000"

// library is a registry (distribution-spec v1.1) of images by repository, such as
// e2e-test-images/agnhost. An image has every tag: which one the tests name changes
// with each of their versions.
type library map[string]blobs

// blobs are what an image consists of, by digest. The manifest is also at "".
type blobs map[string]blob

type blob struct {
	kind string // media type
	data []byte
}

func makeLibrary(t *testing.T, images map[string]oci.Image) library {
	t.Helper()
	all := library{}
	for repository, image := range images {
		image.Name, image.Architecture = "kios.local/"+repository+":1", arch.Host().Name
		made, err := oci.Make(image)
		lab.Must(t, err)
		all[repository] = blobsOf(t, made)
	}
	return all
}

func blobsOf(t *testing.T, image v1.Image) blobs {
	t.Helper()
	manifest, err := image.Manifest()
	lab.Must(t, err)
	text, err := image.RawManifest()
	lab.Must(t, err)
	digest, err := image.Digest()
	lab.Must(t, err)
	config, err := image.RawConfigFile()
	lab.Must(t, err)
	named := blob{string(manifest.MediaType), text}
	all := blobs{"": named, digest.String(): named, manifest.Config.Digest.String(): {string(manifest.Config.MediaType), config}}
	layers, err := image.Layers()
	lab.Must(t, err)
	for i, layer := range layers {
		r, err := layer.Compressed() // as it is stored: not compressed
		lab.Must(t, err)
		data, err := io.ReadAll(r)
		lab.Must(t, err)
		l := manifest.Layers[i]
		all[l.Digest.String()] = blob{string(l.MediaType), data}
	}
	return all
}

// asked matches what is asked of a registry.
var asked = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/(?:(sha256:[0-9a-f]{64})|[\w.-]+)$`)

func (l library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	m := asked.FindStringSubmatch(r.URL.Path)
	if m == nil {
		http.NotFound(w, r)
		return
	}
	found, ok := l[m[1]][m[3]]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", found.kind)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.data))
}
