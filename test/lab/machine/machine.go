// Package machine has what tests of the real image put on a node's disk: images of
// the small programs in test/guest, and the pod that looks at everything. It also
// has a time server, and reads consoles.
package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kios/host/arch"
	"kios/host/oci"
	"kios/host/qemu"
	"kios/test/guest"
	"kios/test/lab"
)

var images struct {
	mu   sync.Mutex
	dir  string
	made map[string]bool
}

// Main runs the tests of a package, and removes their images when they have ended.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "kios-images-")
	if err != nil {
		panic(err)
	}
	images.dir, images.made = dir, map[string]bool{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Program compiles a program for a container of a node, once, and returns the binary.
// It is one of those in test/guest, or hello.
func Program(t testing.TB, name string) string {
	t.Helper()
	images.mu.Lock()
	defer images.mu.Unlock()
	return compiled(t, lab.Arch(t), name)
}

// compiled is Program for somebody who has the lock.
func compiled(t testing.TB, a arch.Arch, name string) string {
	t.Helper()
	bin := filepath.Join(images.dir, name+"-"+a.Name)
	if !images.made[bin] {
		lab.Must(t, guest.Compile(a, bin, name))
		images.made[bin] = true
	}
	return bin
}

// Image writes an archive of the image kios.local/NAME:1, once, and returns its
// path. The image has a program, its entry point, and links to that in /bin.
func Image(t testing.TB, name, program string, links ...string) string {
	t.Helper()
	return once(t, name, func(path string) error {
		return oci.Write(path, image(t, lab.Arch(t), name, program, links))
	})
}

// ImageForAll is Image for nodes of every architecture.
func ImageForAll(t testing.TB, name, program string, links ...string) string {
	t.Helper()
	return once(t, name+"-all", func(path string) error {
		var all []oci.Image
		for _, a := range arch.All {
			all = append(all, image(t, a, name, program, links))
		}
		return oci.WriteIndex(path, all[0].Name, all)
	})
}

// once writes an archive if it is not there, and returns its path.
func once(t testing.TB, name string, write func(path string) error) string {
	t.Helper()
	images.mu.Lock()
	defer images.mu.Unlock()
	archive := filepath.Join(images.dir, name+".tar")
	if !images.made[archive] {
		lab.Must(t, write(archive))
		images.made[archive] = true
	}
	return archive
}

func image(t testing.TB, a arch.Arch, name, program string, links []string) oci.Image {
	t.Helper()
	image := oci.Image{
		Name:         "kios.local/" + name + ":1",
		Architecture: a.Name,
		Files:        []oci.File{{Path: "/" + program, Mode: 0o555, From: compiled(t, a, program)}, {Path: "/tmp", Mode: os.ModeDir | 0o777}},
		Entrypoint:   []string{"/" + program},
	}
	for _, link := range links {
		image.Files = append(image.Files, oci.File{Path: "/bin/" + link, Mode: os.ModeSymlink, Data: []byte("/" + program)})
	}
	return image
}

// ProbePod is the manifest of a pod that can look at everything on its node, and
// change it. It uses nothing of a cluster: where the API server does not know the
// node, it is there all the same. The arguments are more fields of its metadata and
// of its spec, as JSON.
func ProbePod(metadata, spec string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: probe%s}
spec: {hostNetwork: true, hostPID: true, terminationGracePeriodSeconds: 1%s,
  containers: [{
    name: probe, image: "kios.local/probe:1", command: [/probe, sleep], securityContext: {privileged: true},
    volumeMounts: [{name: host, mountPath: /host, mountPropagation: HostToContainer}]}],
  volumes: [{name: host, hostPath: {path: /}}]}
`, metadata, spec)
}

// Console returns the last lines of a machine's console, with their times.
func Console(m *qemu.Machine, lines int) string {
	var b strings.Builder
	for _, l := range m.Tail(lines) {
		fmt.Fprintf(&b, "%10.3f  %s\n", l.At.Seconds(), l.Text)
	}
	return b.String()
}
