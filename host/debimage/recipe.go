package debimage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kios/host/oci"
)

// Recipe says what of which packages an image holds.
type Recipe struct {
	Packages []Package
	Paths    []string   // what is wanted; libraries follow by themselves
	Files    []oci.File // what no package has, by this project
	Probes   []Probe    // how to see that it works
}

// Package is a Debian package. Its version stands in versions.json.
type Package struct {
	Name    string
	Licence string // SPDX expression, of the files that are taken
}

// Probe runs a program that must print the upstream version of its package.
type Probe struct {
	Package string
	Argv    []string
}

// Chrony keeps the clock: chronyd does, and chronyc tells it of new servers and
// a person how it is going. What GnuTLS needs is there for NTS.
var Chrony = Recipe{
	Packages: []Package{
		{"chrony", "GPL-2.0-only"},
		{"libc6", "LGPL-2.1-or-later"},
		{"libcap2", "BSD-3-Clause OR GPL-2.0-only"},
		{"libseccomp2", "LGPL-2.1-only"},
		{"libgnutls30t64", "LGPL-2.1-or-later"},
		{"libnettle8t64", "LGPL-3.0-or-later OR GPL-2.0-or-later"},
		{"libhogweed6t64", "LGPL-3.0-or-later OR GPL-2.0-or-later"},
		{"libgmp10", "LGPL-3.0-or-later OR GPL-2.0-or-later"},
		{"libp11-kit0", "BSD-3-Clause"},
		{"libffi8", "MIT"},
		{"libidn2-0", "(LGPL-3.0-or-later OR GPL-2.0-or-later) AND Unicode-DFS-2016"},
		{"libunistring5", "LGPL-3.0-or-later OR GPL-2.0-or-later"},
		{"libtasn1-6", "LGPL-2.1-or-later"},
		// For chronyc's command line:
		{"libedit2", "BSD-3-Clause"},
		{"libtinfo6", "X11-distribute-modifications-variant"},
		{"libbsd0", "BSD-3-Clause AND BSD-2-Clause AND ISC AND MIT"},
		{"libmd0", "BSD-3-Clause AND BSD-2-Clause AND ISC AND Beerware"},
	},
	Paths: []string{"/usr/sbin/chronyd", "/usr/bin/chronyc"},
	Files: []oci.File{
		{Path: "/etc/passwd", Mode: 0o444, Data: []byte("root:x:0:0:root:/:/nonexistent\n_chrony:x:123:123:chrony:/:/nonexistent\n")},
		{Path: "/etc/group", Mode: 0o444, Data: []byte("root:x:0:\n_chrony:x:123:\n")},
		{Path: "/etc/nsswitch.conf", Mode: 0o444, Data: []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
	},
	Probes: []Probe{
		{"chrony", []string{"/usr/sbin/chronyd", "--version"}},
		{"chrony", []string{"/usr/bin/chronyc", "--version"}},
	},
}

// Disk makes and repairs ext4, and tells what is on a disk before it is touched.
var Disk = Recipe{
	Packages: []Package{
		{"e2fsprogs", "GPL-2.0-only"},
		{"libc6", "LGPL-2.1-or-later"},
		{"libext2fs2t64", "LGPL-2.0-only"},
		{"libcom-err2", "MIT"},
		{"util-linux", "GPL-2.0-or-later"},
		{"libblkid1", "LGPL-2.1-or-later"},
		{"libuuid1", "BSD-3-Clause"},
		{"libsmartcols1", "LGPL-2.1-or-later"},
	},
	Paths: []string{
		"/usr/sbin/mke2fs", "/usr/sbin/e2fsck", "/etc/mke2fs.conf",
		"/usr/sbin/wipefs", "/usr/sbin/blkid",
	},
	Probes: []Probe{
		{"e2fsprogs", []string{"/usr/sbin/mke2fs", "-V"}},
		{"e2fsprogs", []string{"/usr/sbin/e2fsck", "-V"}},
		{"util-linux", []string{"/usr/sbin/wipefs", "--version"}},
		{"util-linux", []string{"/usr/sbin/blkid", "--version"}},
	},
}

// Nft changes the kernel's packet filters, for kube-proxy, flannel and CNI's
// portmap.
var Nft = Recipe{
	Packages: []Package{
		{"nftables", "GPL-2.0-only"},
		{"libc6", "LGPL-2.1-or-later"},
		{"libnftables1", "GPL-2.0-only"},
		{"libnftnl11", "GPL-2.0-or-later"},
		{"libmnl0", "LGPL-2.1-or-later"},
		{"libjansson4", "MIT"},
		{"libgmp10", "LGPL-3.0-or-later OR GPL-2.0-or-later"},
		{"libxtables12", "GPL-2.0-or-later"},
		// For its command line, which nobody uses here, but which it is linked to:
		{"libedit2", "BSD-3-Clause"},
		{"libtinfo6", "X11-distribute-modifications-variant"},
		{"libbsd0", "BSD-3-Clause AND BSD-2-Clause AND ISC AND MIT"},
		{"libmd0", "BSD-3-Clause AND BSD-2-Clause AND ISC AND Beerware"},
	},
	Paths:  []string{"/usr/sbin/nft"},
	Probes: []Probe{{"nftables", []string{"/usr/sbin/nft", "--version"}}},
}

// Collect returns the recipe's files, sorted by path. trees says where each of
// the packages is unpacked.
func (r Recipe) Collect(trees map[string]string) ([]oci.File, error) {
	var dirs []string
	for _, p := range r.Packages {
		dir, ok := trees[p.Name]
		if !ok {
			return nil, fmt.Errorf("the package %s is missing (add it to versions.json)", p.Name)
		}
		dirs = append(dirs, dir)
	}
	files, err := Collect(dirs, r.Paths)
	if err != nil {
		return nil, err
	}
	files = append(files, r.Files...)
	slices.SortFunc(files, func(a, b oci.File) int {
		return strings.Compare(strings.TrimPrefix(a.Path, "/"), strings.TrimPrefix(b.Path, "/"))
	})
	return files, nil
}

// Check runs every program of the recipe in a root directory of the files and
// demands that it is of the version that versions, by package, says.
func (r Recipe) Check(ctx context.Context, files []oci.File, versions map[string]string) error {
	for _, p := range r.Probes {
		want := upstream(versions[p.Package])
		if want == "" {
			return fmt.Errorf("no version of %s is known", p.Package)
		}
		if err := Check(ctx, files, p.Argv, want); err != nil {
			return err
		}
	}
	return nil
}

// Licence returns the SPDX expression for all of the recipe.
func (r Recipe) Licence() string {
	var all []string
	for _, p := range r.Packages {
		l := p.Licence
		if strings.Contains(l, " OR ") && !strings.HasPrefix(l, "(") {
			l = "(" + l + ")"
		}
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return strings.Join(all, " AND ")
}

// Origin names the packages with their versions.
func (r Recipe) Origin(versions map[string]string) string {
	var all []string
	for _, p := range r.Packages {
		all = append(all, p.Name+" "+versions[p.Name])
	}
	return "Debian " + strings.Join(all, ", ")
}

// upstream returns what of a Debian version the program itself knows: without
// epoch and revision (deb-version(7)).
func upstream(version string) string {
	if _, rest, found := strings.Cut(version, ":"); found {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	return version
}
