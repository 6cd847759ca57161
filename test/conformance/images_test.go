//go:build conformance

package conformance

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/cache"
	"kios/host/debian"
	"kios/host/debimage"
	"kios/host/gobuild"
	"kios/host/oci"
	"kios/host/progress"
	"kios/test/lab"
)

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maker makes images.
type maker struct {
	t     *testing.T
	b     *build.Builder
	trees map[string]string // of unpacked Debian packages
	box   []oci.File        // what nearly all images have
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{t: t}
	var err error
	m.b, err = build.New(lab.Root(t), arch.Host(), progress.New(os.Stderr))
	lab.Must(t, err)
	m.trees, err = m.b.Conformance(t.Context())
	lab.Must(t, err)
	m.box = m.busybox()
	return m
}

// images are the images that the tests run, by repository. They have what the tests
// use of the images of those names.
func (m *maker) images() map[string]oci.Image {
	m.t.Helper()
	pause := oci.Image{
		Files: []oci.File{{Path: "/pause", Mode: 0o555, From: lab.Out(m.t, "pause")}}, Entrypoint: []string{"/pause"}, User: "65535:65535",
	}
	images := map[string]oci.Image{
		"pause":                      pause,
		"critest":                    m.critest(),
		"e2e-test-images/agnhost":    m.agnhost(pause),
		"e2e-test-images/busybox":    m.image([]string{"sh"}),
		"e2e-test-images/nonroot":    m.user("1234"),
		"e2e-test-images/nonewprivs": m.image([]string{"nnp"}, oci.File{Path: "/usr/local/bin/nnp", Mode: fs.ModeSetuid | 0o755, From: m.program(gobuild.NoNewPrivs)}),
		"e2e-test-images/nginx":      m.nginx(80),
		"e2e-test-images/httpd":      m.httpd(),
	}
	maps.Copy(images, m.critestImages())
	return images
}

// critestImages are those that only critest uses. Some have to differ in nothing but
// their digests.
func (m *maker) critestImages() map[string]oci.Image {
	const dir = "k8s-staging-cri-tools/"
	images := map[string]oci.Image{dir + "hostnet-nginx-amd64": m.nginx(12003)}
	for _, name := range []string{"latest", "tag", "tags", "1", "2", "3"} {
		images[dir+"test-image-"+name] = m.image([]string{"sh"}, oci.File{Path: "/" + name, Mode: 0o444})
	}
	for name, user := range map[string]string{
		"user-uid": "1002", "user-username": "www-data", "user-uid-group": "1003:1004", "user-username-group": "www-data:1004",
		"predefined-group": "1000",
	} {
		images[dir+"test-image-"+name] = m.user(user)
	}
	return images
}

// image is busybox with more files.
func (m *maker) image(cmd []string, files ...oci.File) oci.Image {
	return oci.Image{Files: slices.Concat(m.box, files), Cmd: cmd, Env: []string{path}}
}

// user is busybox with another user than root.
func (m *maker) user(user string) oci.Image {
	image := m.image([]string{"sh"})
	image.User = user
	return image
}

// The users and groups that tests ask for by name.
const (
	passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
`
	group = `root:x:0:
www-data:x:33:
user-defined-in-image:x:1000:
group-defined-in-image:x:50000:user-defined-in-image
nobody:x:65534:
`
)

// busybox are its programs in /bin, and a root directory for them.
func (m *maker) busybox() []oci.File {
	m.t.Helper()
	program := m.compileBusybox()
	names, err := exec.Command(program, "--list").Output()
	lab.Must(m.t, err)
	files := []oci.File{
		{Path: "/bin/busybox", Mode: 0o755, From: program},
		{Path: "/bin/ls", Mode: 0o755, From: program}, // no link: critest masks it, and needs the shell then
		{Path: "/etc/passwd", Mode: 0o644, Data: []byte(passwd)},
		{Path: "/etc/group", Mode: 0o644, Data: []byte(group)},
		{Path: "/root", Mode: fs.ModeDir | 0o700},
		{Path: "/home", Mode: fs.ModeDir | 0o755},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/var/run", Mode: fs.ModeDir | 0o755},
		{Path: "/usr/bin/env", Mode: fs.ModeSymlink, Data: []byte("/bin/busybox")}, // of scripts
	}
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" && name != "ls" {
			files = append(files, oci.File{Path: "/bin/" + name, Mode: fs.ModeSymlink, Data: []byte("busybox")})
		}
	}
	return files
}

// compileBusybox compiles busybox as its authors publish it. Debian's drops variables
// whose names have dashes, which are names of keys in the tests, and prefers its own
// programs to those in PATH.
func (m *maker) compileBusybox() string {
	m.t.Helper()
	version := m.b.Versions.Conformance.Sources["busybox"]
	source, err := debian.Source(m.t.Context(), m.b.Log, m.b.Versions.Debian.Suites, debian.Package{Name: "busybox", Version: version})
	lab.Must(m.t, err)
	key := cache.NewKey("busybox", version, strings.Join(busyboxOptions, " "))
	dir, err := cache.Product(m.t.Context(), m.b.Log, "busybox", key, func(out string) error {
		step := m.b.Log.Start("build busybox")
		return step.End(makeBusybox(m.t.Context(), source, out))
	})
	lab.Must(m.t, err)
	return filepath.Join(dir, "busybox")
}

// busyboxOptions change busybox' defaults: no libraries; netcat with UDP; and without
// tc, which does not compile with the headers of a Linux newer than it.
var busyboxOptions = []string{"CONFIG_STATIC=y", "CONFIG_NC_110_COMPAT=y", "CONFIG_TC=n"}

func makeBusybox(ctx context.Context, source, out string) error {
	tree, remove, err := cache.Scratch("busybox-")
	if err != nil {
		return err
	}
	defer remove()
	archives, err := filepath.Glob(filepath.Join(source, "*.orig.tar.*"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("the source of busybox has the archives %v (%v), want one", archives, err)
	}
	script := `tar --extract --strip-components=1 --file="$0"
make defconfig
for option; do sed -i -E "s/^(# )?${option%=*}[= ].*/$option/" .config; done
yes '' | make oldconfig
make -j2
cp busybox "$OUT"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-euc", script, archives[0]}, busyboxOptions...)...)
	cmd.Dir, cmd.Env = tree, append(os.Environ(), "OUT="+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile busybox: %w\n%s", err, lab.Tail(string(text), 20))
	}
	return nil
}

// program compiles a program of the tests.
func (m *maker) program(p gobuild.Program) string {
	m.t.Helper()
	bin, err := gobuild.Build(m.t.Context(), m.b.Log, m.b.Root, gobuild.Target{Arch: m.b.Arch}, p)
	lab.Must(m.t, err)
	return bin
}

// debian are files of Debian's packages, and the libraries that they need.
func (m *maker) debian(paths ...string) []oci.File {
	m.t.Helper()
	var dirs []string
	for _, name := range slices.Sorted(maps.Keys(m.trees)) {
		dirs = append(dirs, m.trees[name])
	}
	files, err := debimage.Collect(m.b.Arch, dirs, paths)
	lab.Must(m.t, err)
	return files
}

// agnhost is what most of the tests' pods run. It has a registry for itself, with the
// image pause.
func (m *maker) agnhost(pause oci.Image) oci.Image {
	m.t.Helper()
	source := m.source("k8s.io/kubernetes")
	image := m.image([]string{"pause"},
		oci.File{Path: "/agnhost", Mode: 0o755, From: m.program(gobuild.Agnhost)},
		oci.File{Path: "/agnhost-2", Mode: fs.ModeSymlink, Data: []byte("agnhost")},
		oci.File{Path: "/bin/bash", Mode: fs.ModeSymlink, Data: []byte("/usr/bin/bash")},
		oci.File{Path: "/uploads", Mode: fs.ModeDir | 0o755},
		oci.File{Path: "/localhost.crt", Mode: 0o444, From: filepath.Join(source, "test/images/agnhost/porter/localhost.crt")},
		oci.File{Path: "/localhost.key", Mode: 0o444, From: filepath.Join(source, "test/images/agnhost/porter/localhost.key")},
	)
	image.Entrypoint = []string{"/agnhost"}
	image.Files = slices.Concat(image.Files, m.debian("/usr/bin/curl", "/usr/bin/bash"), m.fakeRegistry("pause", pause))
	return image
}

// source is the directory of a module that the tests are of.
func (m *maker) source(module string) string {
	m.t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir, cmd.Env = filepath.Join(m.b.Root, gobuild.NodeTests.Dir), append(os.Environ(), "GOFLAGS=")
	text, err := cmd.Output()
	lab.Must(m.t, err)
	return strings.TrimSpace(string(text))
}

// fakeRegistry are the files that agnhost's registry serves, with the one tag that the
// tests ask for.
func (m *maker) fakeRegistry(name string, image oci.Image) []oci.File {
	m.t.Helper()
	dir := "/var/registry/" + name
	var files []oci.File
	for digest, b := range makeLibrary(m.t, map[string]oci.Image{name: image})[name] {
		switch {
		case digest == "":
		case strings.HasSuffix(b.kind, ".manifest.v1+json"):
			files = append(files,
				oci.File{Path: dir + "/manifests/" + digest, Mode: 0o444, Data: b.data},
				oci.File{Path: dir + "/manifests/testing", Mode: 0o444, Data: []byte(digest)})
		default:
			files = append(files, oci.File{Path: dir + "/blobs/" + digest, Mode: 0o444, Data: b.data})
		}
	}
	return files
}

// nginx serves a page at a port.
func (m *maker) nginx(port int) oci.Image {
	conf := fmt.Sprintf(`user www-data;
pid /var/run/nginx.pid;
error_log /dev/stderr;
events {}
http { access_log /dev/stdout; server { listen %d; root /usr/share/nginx/html; } }
`, port)
	image := m.image([]string{"nginx", "-g", "daemon off;"},
		oci.File{Path: "/etc/nginx/nginx.conf", Mode: 0o444, Data: []byte(conf)},
		oci.File{Path: "/usr/share/nginx/html/index.html", Mode: 0o444, Data: []byte("nginx\n")},
		oci.File{Path: "/var/lib/nginx", Mode: fs.ModeDir | 0o755},
		oci.File{Path: "/var/log/nginx", Mode: fs.ModeDir | 0o755})
	image.Files = append(image.Files, m.debian("/usr/sbin/nginx")...)
	return image
}

// httpd serves a page, and logs its name.
func (m *maker) httpd() oci.Image {
	return m.image([]string{"sh", "-c", "echo httpd && exec httpd -f -vv -h /www"},
		oci.File{Path: "/www/index.html", Mode: 0o444, Data: []byte("httpd\n")})
}

// critest has the tests, and the programs of the host that they call.
func (m *maker) critest() oci.Image {
	m.t.Helper()
	image := m.image([]string{"sleep", "inf"},
		oci.File{Path: "/usr/local/bin/critest", Mode: 0o555, From: m.program(gobuild.CRITests)},
		// It loads profiles of AppArmor with "sudo apparmor_parser".
		oci.File{Path: "/usr/local/bin/sudo", Mode: 0o555, Data: []byte("#!/bin/sh\nexec \"$@\"\n")})
	paths := append([]string{"/usr/bin/ipcmk", "/usr/sbin/apparmor_parser", "/etc/apparmor/parser.conf", "/usr/share/apparmor-features/features"}, m.below("apparmor", "etc/apparmor.d/abi", "etc/apparmor.d/abstractions", "etc/apparmor.d/tunables")...)
	image.Files = append(image.Files, m.debian(paths...)...)
	return image
}

// below lists the files of a package below some directories.
func (m *maker) below(pkg string, dirs ...string) (paths []string) {
	m.t.Helper()
	for _, dir := range dirs {
		lab.Must(m.t, fs.WalkDir(os.DirFS(m.trees[pkg]), dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		}))
	}
	return paths
}
