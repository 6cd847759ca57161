package diskimage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"kios/host/arch"
)

// platform is how the node calls what an image is made for. It takes no image for a part of
// an architecture's processors, since it does not ask which one it has.
func platform(system, architecture, variant string) string {
	architecture, variant = strings.ToLower(architecture), strings.ToLower(variant)
	for _, a := range arch.All {
		if a.Called(architecture) {
			architecture = a.Name
			if slices.Contains(a.Variants, variant) {
				variant = ""
			}
		}
	}
	name := system + "/" + architecture
	if variant != "" {
		name += "/" + variant
	}
	return name
}

// platformOf is what the programs of an image must be made for.
func platformOf(a arch.Arch) string { return "linux/" + a.Name }

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

// errPlatform says of what an archive has nothing, if none of its images is for a node. What an
// archive does not say is left to the node.
func errPlatform(images []namedImage, platform string) error {
	var found []string
	for _, i := range images {
		if i.content != "" {
			return nil
		}
		found = append(found, i.platforms...)
	}
	if found = present(found); len(found) == 0 {
		return fmt.Errorf("has no image for %s, it only lists some: save the image of that platform", platform)
	}
	return fmt.Errorf("has no image for %s, only for %s: save the image of that platform", platform, list(found))
}

// present leaves out what an archive only lists.
func present(platforms []string) []string {
	return slices.DeleteFunc(slices.Clone(platforms), func(p string) bool { return p == absent })
}

// list is a list of platforms for a person.
func list(platforms []string) string {
	slices.Sort(platforms)
	return strings.Join(slices.Compact(platforms), ", ")
}

// fits reports whether an image of these platforms is for a node, or may be.
func fits(platforms []string, platform string) bool {
	return len(platforms) == 0 || slices.Contains(platforms, platform)
}

// attestation is the operating system of what only says something of an image.
const attestation = "unknown"

// absent is the platform of an image that an archive lists, and does not have.
const absent = "absent"

func (d descriptions) platforms(manifests []v1.Descriptor, depth int) []string {
	var found []string
	for _, m := range manifests {
		switch p := m.Platform; {
		case depth > maxDepth:
		case p != nil && p.OS == attestation:
		case p != nil && p.OS != "" && !d.has(m.Digest):
			found = append(found, absent)
		case p != nil && p.OS != "":
			found = append(found, platform(p.OS, p.Architecture, p.Variant))
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
	if d.blob(m.Digest, &manifest) && d.blob(manifest.Config.Digest, &config) {
		return configPlatforms(config)
	}
	return nil
}

// dockerPlatforms are those that a file with the configuration of an image says, which
// the manifest.json of docker save names.
func (d descriptions) dockerPlatforms(file string) []string {
	var config v1.ConfigFile
	if data, ok := d[file]; ok && json.Unmarshal(data, &config) == nil {
		return configPlatforms(config)
	}
	return nil
}

// configPlatforms is the platform that an image's configuration says, if it does.
func configPlatforms(config v1.ConfigFile) []string {
	if config.OS == "" {
		return nil
	}
	return []string{platform(config.OS, config.Architecture, config.Variant)}
}
