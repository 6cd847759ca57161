package diskimage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nodePlatform is what the programs of an image must be made for.
const nodePlatform = "linux/amd64"

// Limits of what is kept of an archive to find out about platforms: the descriptions of
// its images, which are JSON, and not their layers.
const (
	maxBlob  = 4 << 20
	maxBlobs = 64 << 20
	maxDepth = 3 // of indexes in indexes
)

// descriptions are the JSON files of an archive by their names in it. Of other files they
// have the names.
type descriptions map[string][]byte

// keep takes in a file of an archive unless it is too large.
func (d descriptions) keep(name string, data []byte) {
	total := len(data)
	for _, have := range d {
		total += len(have)
	}
	if total > maxBlobs {
		data = nil
	}
	d[name] = data
}

// wants reports whether a file may be a description.
func (d descriptions) wants(name string, size int64) bool {
	return size <= maxBlob && (strings.HasPrefix(name, "blobs/") || strings.HasSuffix(name, ".json"))
}

// blob decodes what a digest names, and reports whether it was there.
func (d descriptions) blob(digest v1.Hash, into any) bool {
	data, found := d["blobs/"+digest.Algorithm+"/"+digest.Hex]
	return found && json.Unmarshal(data, into) == nil
}

// has reports whether the archive has what a digest names.
func (d descriptions) has(digest v1.Hash) bool {
	_, found := d["blobs/"+digest.Algorithm+"/"+digest.Hex]
	return found
}

// checkPlatform demands that one of the descriptors is for a node. What an archive does
// not say is left to the node.
func (d descriptions) checkPlatform(manifests []v1.Descriptor) error {
	found := d.platforms(manifests, 0)
	return checkPlatforms(found)
}

func checkPlatforms(found []string) error {
	if len(found) == 0 || slices.Contains(found, nodePlatform) {
		return nil
	}
	found = slices.DeleteFunc(found, func(p string) bool { return p == absent })
	if len(found) == 0 {
		return fmt.Errorf("has no image for %s, it only lists some: save the image of that platform", nodePlatform)
	}
	slices.Sort(found)
	return fmt.Errorf("has no image for %s, only for %s: save the image of that platform", nodePlatform, strings.Join(slices.Compact(found), ", "))
}

// absent is the platform of an image that an archive lists, and does not have.
const absent = "absent"

func (d descriptions) platforms(manifests []v1.Descriptor, depth int) []string {
	var found []string
	for _, m := range manifests {
		switch p := m.Platform; {
		case depth > maxDepth:
		case p != nil && p.OS == "unknown": // an attestation
		case p != nil && p.OS != "" && !d.has(m.Digest):
			found = append(found, absent)
		case p != nil && p.OS != "":
			found = append(found, p.OS+"/"+p.Architecture)
		default:
			found = append(found, d.platformsOf(m, depth)...)
		}
	}
	return found
}

// platformsOf looks into what a descriptor names: an index or a manifest.
func (d descriptions) platformsOf(m v1.Descriptor, depth int) []string {
	if m.MediaType == types.OCIImageIndex || m.MediaType == types.DockerManifestList {
		var index v1.IndexManifest
		d.blob(m.Digest, &index)
		return d.platforms(index.Manifests, depth+1)
	}
	var manifest v1.Manifest
	var config v1.ConfigFile
	if d.blob(m.Digest, &manifest) && d.blob(manifest.Config.Digest, &config) && config.OS != "" {
		return []string{config.OS + "/" + config.Architecture}
	}
	return nil
}

// checkDocker is checkPlatform for the output of docker save, whose manifest.json names
// the files of the images' configurations.
func (d descriptions) checkDocker(manifest []byte) error {
	var images []struct{ Config string }
	if err := json.Unmarshal(manifest, &images); err != nil {
		return err
	}
	var found []string
	for _, i := range images {
		var config v1.ConfigFile
		if data, ok := d[i.Config]; ok && json.Unmarshal(data, &config) == nil && config.OS != "" {
			found = append(found, config.OS+"/"+config.Architecture)
		}
	}
	return checkPlatforms(found)
}
