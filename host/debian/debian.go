// Package debian fetches single packages of another Debian release than the
// host's, with the host's own apt but with lists, caches and sources in
// private directories: nothing on the host changes. Signatures are checked
// against the host's debian-archive-keyring.
//
// Where the archive is, the host's apt already knows: the mirror that serves
// its own release serves the others too. Nothing is installed, and only
// Unpack resolves dependencies. See apt-get(8), sources.list(5) and apt.conf(5).
package debian

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/hosttool"
	"kios/host/progress"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// listsAge is for how long the package lists are used without asking the
// archive again.
const listsAge = time.Hour

// Package is a package at the version that versions.json names.
type Package struct{ Name, Version string }

// Deb is a fetched package.
type Deb struct {
	Name    string
	Version string // what was really fetched
	Path    string
	// Notice tells, for a person, why Version is not the one asked for. It is
	// empty when it is.
	Notice string
}

// ForAll reports whether the package is the same for all architectures.
func (d Deb) ForAll() bool { return strings.HasSuffix(d.Path, "_"+all+".deb") }

// Fetch returns the packages for an architecture from the given suites (such as "trixie"
// and "trixie-security"), in the order of pkgs. A package is taken from the cache
// if it is there. A version that has left the archive, as happens with every
// security update, is replaced by the newest one of the same package, and the
// Deb's Notice says so.
func Fetch(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, pkgs []Package) ([]Deb, error) {
	from, err := newArchive("apt", a, suites)
	if err != nil {
		return nil, err
	}
	debs, err := from.get(ctx, log, pkgs)
	if err != nil {
		return nil, fmt.Errorf("fetch packages of Debian: %w", err)
	}
	return debs, nil
}

// Source fetches the files of a source package, as upstream and Debian publish them,
// and returns the directory that has them. Nothing is unpacked and no patch applied.
func Source(ctx context.Context, log *progress.Log, suites []string, p Package) (string, error) {
	return cache.Product(ctx, log, "source-"+p.Name, cache.NewKey(p.Name, p.Version), func(dir string) error {
		a, err := newArchive("apt-source", arch.Host(), suites)
		if err != nil {
			return err
		}
		a.kind = "deb-src"
		if err := a.source(ctx, log, p, dir); err != nil {
			return fmt.Errorf("fetch the source of Debian's %s: %w", p.Name, err)
		}
		return nil
	})
}

// source downloads a source package into dir.
func (a *archive) source(ctx context.Context, log *progress.Log, p Package, dir string) error {
	unlock, err := a.lock(ctx, log)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.prepare(ctx, log); err != nil {
		return err
	}
	cmd := a.apt(ctx, "apt-get", "source", "--download-only", p.Name+"="+p.Version)
	cmd.Dir = dir
	_, err = run(cmd)
	if err != nil {
		return fmt.Errorf("%w (has %s left the archive? then update versions.json)", err, p.Version)
	}
	return nil
}

// Extract unpacks the files of a package into dir.
func Extract(ctx context.Context, d Deb, dir string) error {
	_, err := run(hosttool.Exec(ctx, "dpkg-deb", "-x", d.Path, dir))
	return err
}

// archive is the private view of Debian's archive.
type archive struct {
	root   string // apt's private directories
	debs   string // the packages fetched so far that are for all architectures
	own    string // those of this one
	arch   string // of what is fetched
	suites []string
	kind   string // of what is fetched: deb, or deb-src
	ready  bool   // lists are there
}

// newArchive returns that with the private directory of this name in the cache.
// Each set of suites, and each architecture, has a directory of its own: its lists are
// fetched anew when the suites change.
func newArchive(name string, a arch.Arch, suites []string) (*archive, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	root, err := cache.Dir()
	if err != nil {
		return nil, err
	}
	return &archive{
		root: filepath.Join(root, a.Product(name)),
		debs: filepath.Join(root, "debs"), own: filepath.Join(root, a.Product("debs")),
		arch: a.Name, suites: suites, kind: "deb",
	}, nil
}

// get asks apt once for all packages that are not there: each call of apt takes a
// second or two, whatever it does.
func (a *archive) get(ctx context.Context, log *progress.Log, pkgs []Package) ([]Deb, error) {
	debs := make([]Deb, len(pkgs))
	var absent []string
	for i, p := range pkgs {
		debs[i] = Deb{Name: p.Name, Version: p.Version, Path: a.cached(p.Name, p.Version)}
		if debs[i].Path == "" {
			absent = append(absent, p.Name)
		}
	}
	if len(absent) == 0 {
		return debs, nil
	}
	unlock, err := a.lock(ctx, log)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := a.prepare(ctx, log); err != nil {
		return nil, err
	}
	offered, err := run(a.apt(ctx, "apt-cache", append([]string{"madison"}, absent...)...))
	if err != nil {
		return nil, err
	}
	var fetch []Package
	for i := range debs {
		if debs[i].Path != "" {
			continue
		}
		if err := a.settle(&debs[i], offered); err != nil {
			return nil, err
		}
		if debs[i].Path == "" {
			fetch = append(fetch, Package{debs[i].Name, debs[i].Version})
		}
	}
	if err := a.download(ctx, log, fetch); err != nil {
		return nil, err
	}
	for i := range debs {
		if debs[i].Path == "" {
			debs[i].Path = a.cached(debs[i].Name, debs[i].Version)
		}
	}
	return debs, nil
}

// lock waits for other processes that use apt's private directories: apt itself would
// not wait, but fail.
func (a *archive) lock(ctx context.Context, log *progress.Log) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(a.root), 0o755); err != nil {
		return nil, err
	}
	return cache.Lock(ctx, log, a.root+".lock")
}

// settle decides which version of a package it is, of those that are offered. That
// one may be in the cache.
func (a *archive) settle(d *Deb, offered string) error {
	version, err := a.choose(offered, Package{d.Name, d.Version})
	if err != nil {
		return err
	}
	if version != d.Version {
		d.Notice = fmt.Sprintf("%s %s is no longer in the archive; using %s (update versions.json)", d.Name, d.Version, version)
		d.Version = version
	}
	d.Path = a.cached(d.Name, version)
	return nil
}

// cached returns the path of a package fetched before, or "".
func (a *archive) cached(name, version string) string {
	return cmp.Or(find(a.own, name, version, a.arch), find(a.debs, name, version, all))
}

// all is what Debian calls the architecture of a package without programs, which is the
// same for all of them.
const all = "all"

// find returns the path of a package in dir, or "".
func find(dir, name, version, arch string) string {
	// apt writes the colon of an epoch as %3a.
	path := filepath.Join(dir, name+"_"+strings.ReplaceAll(version, ":", "%3a")+"_"+arch+".deb")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// prepare makes apt's private directories and fetches the package lists,
// unless they are there and young.
func (a *archive) prepare(ctx context.Context, log *progress.Log) error {
	if a.ready {
		return nil
	}
	if err := a.checkHost(); err != nil {
		return err
	}
	sources, err := a.sources(ctx)
	if err != nil {
		return err
	}
	if !a.fresh(sources) {
		step := log.Start("fetch Debian's package lists")
		if err := step.End(a.update(ctx, sources)); err != nil {
			return err
		}
	}
	a.ready = true
	return nil
}

func (a *archive) checkHost() error {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s not found: kiOS can be built only on Debian 12 or newer", tool)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("%w: needed to check signatures (apt-get install debian-archive-keyring)", err)
	}
	for _, d := range []string{a.debs, a.own, a.root + "/lists/partial", a.root + "/archives/partial"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(a.root+"/status", nil, 0o644)
}

// sources returns the contents of our sources.list, with mirrors learnt from
// the host.
func (a *archive) sources(ctx context.Context) (string, error) {
	out, err := run(hosttool.Exec(ctx, "apt-get", "indextargets", "--format", targetFormat, "Created-By: Packages"))
	if err != nil {
		return "", err
	}
	m := parseMirrors(out)
	var b strings.Builder
	for _, suite := range a.suites {
		uri, err := m.serving(suite)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s [signed-by=%s] %s %s main\n", a.kind, keyring, uri, suite)
	}
	return b.String(), nil
}

func (a *archive) sourcesFile() string { return filepath.Join(a.root, "sources.list") }

// fresh reports whether the lists were fetched a short time ago from sources.
// The sources file is written last, so its age is that of the lists.
func (a *archive) fresh(sources string) bool {
	old, err := os.ReadFile(a.sourcesFile())
	if err != nil || string(old) != sources {
		return false
	}
	info, err := os.Stat(a.sourcesFile())
	return err == nil && time.Since(info.ModTime()) < listsAge
}

func (a *archive) update(ctx context.Context, sources string) error {
	if err := os.WriteFile(a.sourcesFile(), []byte(sources), 0o644); err != nil {
		return err
	}
	// Without Error-Mode, apt-get calls an unreachable archive a success.
	_, err := run(a.apt(ctx, "apt-get", "-o", "APT::Update::Error-Mode=any", "update"))
	if err != nil {
		os.Remove(a.sourcesFile())
		return fmt.Errorf("%w (is the network up? does `apt-get update` work on this host?)", err)
	}
	return nil
}

// choose returns p.Version if it is among what `apt-cache madison` says is offered,
// else the newest version.
func (a *archive) choose(offered string, p Package) (string, error) {
	have := parseMadison(offered, p.Name)
	if len(have) == 0 {
		return "", fmt.Errorf("%s not found in %s", p.Name, strings.Join(a.suites, ", "))
	}
	if slices.Contains(have, p.Version) {
		return p.Version, nil
	}
	return have[0], nil
}

// parseMadison returns the versions that `apt-cache madison` lists for name,
// newest first as apt-cache prints them. Source packages are not ours.
func parseMadison(out, name string) []string {
	var versions []string
	for line := range strings.Lines(out) {
		f := strings.Split(line, "|")
		if len(f) < 3 || strings.TrimSpace(f[0]) != name || strings.HasSuffix(strings.TrimSpace(f[2]), "Sources") {
			continue
		}
		versions = append(versions, strings.TrimSpace(f[1]))
	}
	return versions
}

// download lets apt-get fetch and check packages, and then moves them to their
// place, so that a half-written file is never taken for a package.
func (a *archive) download(ctx context.Context, log *progress.Log, pkgs []Package) error {
	if len(pkgs) == 0 {
		return nil
	}
	tmp, err := os.MkdirTemp(a.debs, ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := []string{"download"}
	for _, p := range pkgs {
		args = append(args, p.Name+"="+p.Version)
	}
	cmd := a.apt(ctx, "apt-get", args...)
	cmd.Dir = tmp
	what := pkgs[0].Name + " " + pkgs[0].Version
	if len(pkgs) > 1 {
		what = fmt.Sprintf("%d packages of Debian", len(pkgs))
	}
	step := log.Start("download " + what)
	_, err = run(cmd)
	if step.End(err) != nil {
		return fmt.Errorf("%w (is the network up?)", err)
	}
	return a.keep(tmp, pkgs)
}

// keep moves what was downloaded to its place.
func (a *archive) keep(tmp string, pkgs []Package) error {
	for _, p := range pkgs {
		got, dir := find(tmp, p.Name, p.Version, a.arch), a.own
		if got == "" {
			got, dir = find(tmp, p.Name, p.Version, all), a.debs
		}
		if got == "" {
			return fmt.Errorf("apt-get did not download %s=%s", p.Name, p.Version)
		}
		if err := os.Rename(got, filepath.Join(dir, filepath.Base(got))); err != nil {
			return err
		}
	}
	return nil
}

// apt returns a command of apt that sees only our directories. The host's
// apt.conf is still read, for proxies; its sources, pins and state are not.
func (a *archive) apt(ctx context.Context, tool string, args ...string) *exec.Cmd {
	opts := []string{
		"Dir::Etc::SourceList=" + a.sourcesFile(),
		"Dir::Etc::SourceParts=/dev/null",
		"Dir::Etc::Preferences=/dev/null",
		"Dir::Etc::PreferencesParts=/dev/null",
		"Dir::State::Lists=" + a.root + "/lists",
		"Dir::State::Status=" + a.root + "/status",
		"Dir::Cache=" + a.root,
		"Dir::Cache::Archives=archives",
		"APT::Architecture=" + a.arch,
		"APT::Architectures=" + a.arch,
		"APT::Default-Release=",
		// Our directories are below the user's home, which _apt cannot read.
		"APT::Sandbox::User=root",
		"Acquire::Languages=none",
		"Acquire::Retries=3",
	}
	var argv []string
	for _, o := range opts {
		argv = append(argv, "-o", o)
	}
	return hosttool.Exec(ctx, tool, append(argv, args...)...)
}

// run runs cmd and returns its standard output; an error carries what the
// program said.
func run(cmd *exec.Cmd) (string, error) {
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	if said := complaints(errs.String()); said != "" {
		return "", fmt.Errorf("%s: %s", filepath.Base(cmd.Path), said)
	}
	return "", fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

// complaints returns apt's errors in one line, without their marks, and
// without its warnings if there is an error.
func complaints(stderr string) string {
	var errs, all []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if e, ok := strings.CutPrefix(line, "E: "); ok {
			errs = append(errs, e)
		}
		if line != "" {
			all = append(all, line)
		}
	}
	if len(errs) > 0 {
		return strings.Join(errs, "; ")
	}
	return strings.Join(all, "; ")
}
