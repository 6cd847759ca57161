// Package importer is a containerd plugin that imports the image archives that
// the node carries, in the background at every start: OCI image layouts and
// `docker save` files, as plain tar, gzip or zstd. What is already there is
// skipped, what an interrupted start left half done is done again, and a
// broken archive is named in the log and does not keep the others away. The
// images of the OS itself are not imported but used where they are: layout.go.
//
// An image gets its name, which is what CRI and everyone else finds it by,
// after it is unpacked and synced; a record for its digest and one for the
// digest of its configuration, as CRI makes them for images that it pulls;
// and labels that make it pinned: the kubelet does not collect it.
//
// Formats: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
// and https://github.com/moby/docker-image-spec.
package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"kios/upstream/containerd/nodeevents"
)

// ID is the plugin's, of type InternalPlugin.
const ID = "kios-import"

// config is the plugin's section of the configuration file.
type config struct {
	// Directories are searched for archives, in this order, by name in each. A
	// later archive wins when two bring an image of the same name. The first
	// directory may be an OCI image layout instead, with the images of the OS,
	// over which every plain archive wins.
	Directories []string `toml:"directories"`
	// Snapshotter is where images are unpacked. It must be CRI's.
	Snapshotter string `toml:"snapshotter"`
	// SandboxImage is CRI's pinned sandbox image.
	SandboxImage string `toml:"sandbox_image"`
	// PortableSandbox makes that image one for any snapshotter.
	PortableSandbox bool `toml:"portable_sandbox"`
}

// portable is the image that any snapshotter can unpack, or "".
func (c *config) portable() string {
	if c.PortableSandbox {
		return c.SandboxImage
	}
	return ""
}

// Register registers the plugin, which reports each import to n.
func Register(n *nodeevents.Notifier) {
	registry.Register(&plugin.Registration{
		Type: plugins.InternalPlugin,
		ID:   ID,
		Requires: []plugin.Type{ // what a client in the same process is made of
			plugins.EventPlugin,
			plugins.LeasePlugin,
			plugins.SandboxStorePlugin,
			plugins.TransferPlugin,
			plugins.MountManagerPlugin,
			plugins.ServicePlugin,
			plugins.CRIServicePlugin,
		},
		Config: &config{
			Directories:  []string{"/usr/share/kios/images", "/run/kios/images"},
			Snapshotter:  "overlayfs",
			SandboxImage: "kios.local/pause:1",
		},
		InitFn: func(ic *plugin.InitContext) (any, error) { return start(ic, n) },
	})
}

// start begins the import and returns at once.
func start(ic *plugin.InitContext, n *nodeevents.Notifier) (*Importer, error) {
	client, err := containerd.New("",
		containerd.WithDefaultNamespace("k8s.io"),
		containerd.WithDefaultPlatform(platforms.Default()),
		containerd.WithInMemoryServices(ic),
	)
	if err != nil {
		return nil, err
	}
	cri, err := ic.GetByID(plugins.CRIServicePlugin, "images")
	if err != nil {
		return nil, err
	}
	updater, ok := cri.(interface {
		UpdateImage(ctx context.Context, ref string) error
	})
	if !ok {
		return nil, fmt.Errorf("CRI's image service %T has no UpdateImage", cri)
	}
	c := ic.Config.(*config)
	im := New(&store{client: client, snapshotter: c.Snapshotter,
		updateCRI: updater.UpdateImage, portable: c.portable(), layersDir: layersDir, mountLayer: mountLayer}, c.SandboxImage)
	im.notify = n.Send
	dir := ic.Properties[plugins.PropertyRootDir]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	im.notes = readNotes(filepath.Join(dir, "archives.json"))
	ctx, cancel := context.WithCancel(ic.Context)
	im.cancel = cancel
	im.done.Go(func() { im.Run(ctx, c.Directories) })
	return im, nil
}

// Store is where images go.
type Store interface {
	// Prepare removes what an interrupted import left behind.
	Prepare(ctx context.Context) error
	// Has returns the names of the images that the archive id brought, if all of it
	// is still there, else none.
	Has(ctx context.Context, id digest.Digest) (names []string, err error)
	// Import imports the archive at path, and returns the names of its images.
	Import(ctx context.Context, path string, id digest.Digest) (names []string, err error)
	// Place makes images known that stay in their layout in the directory dir,
	// and tells whether any was not.
	Place(ctx context.Context, dir string, names []string) (changed bool, err error)
	// Forget removes images that were placed from other layouts than dirs.
	Forget(ctx context.Context, dirs []string) error
	// Unpin leaves to the kubelet's garbage collection what other archives brought
	// than those with the IDs.
	Unpin(ctx context.Context, ids []digest.Digest) error
}

// Importer imports archives and knows which are still to come.
type Importer struct {
	store   Store
	sandbox string
	notify  func(event string, fields ...string)
	notes   *notes
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	begun   bool       // the sandbox's image of the OS has been placed
	scanned bool       // pending is complete
	pending []*archive // not imported yet
	changed chan struct{}
}

// New returns an Importer that has not started: everything is pending.
func New(s Store, sandboxImage string) *Importer {
	return &Importer{
		store:   s,
		sandbox: sandboxImage,
		notify:  func(string, ...string) {},
		notes:   readNotes(""),
		changed: make(chan struct{}),
	}
}

// SandboxImage returns the name of the image of every pod's sandbox.
func (im *Importer) SandboxImage() string { return im.sandbox }

// Close stops an import that is running, and waits until it has stopped: the
// metadata store is closed next.
func (im *Importer) Close() error {
	im.cancel()
	im.done.Wait()
	return nil
}

// Run imports all archives in dirs and returns when there are no more.
func (im *Importer) Run(ctx context.Context, dirs []string) {
	if err := im.store.Prepare(ctx); err != nil {
		log.G(ctx).WithError(err).Warn("remove the remains of an interrupted image import")
	}
	if err := im.store.Forget(ctx, im.scan(ctx, dirs)); err != nil {
		log.G(ctx).WithError(err).Warn("forget images that are gone")
	}
	for a := im.next(ctx); a != nil; a = im.next(ctx) {
		im.one(ctx, a)
		im.finish()
	}
	if ctx.Err() == nil {
		im.settle(ctx)
	}
}

// settle ends a run: what archives brought that are gone, or are others now, need not stay.
func (im *Importer) settle(ctx context.Context) {
	if err := im.store.Unpin(ctx, im.notes.ids()); err != nil {
		log.G(ctx).WithError(err).Warn("unpin images of archives that are gone")
	}
	if err := im.notes.write(); err != nil {
		log.G(ctx).WithError(err).Warn("note what archives there are")
	}
}

// next returns the archive to import now, or nil if there is no more to do.
func (im *Importer) next(ctx context.Context) *archive {
	im.mu.Lock()
	defer im.mu.Unlock()
	if len(im.pending) == 0 || ctx.Err() != nil {
		im.pending = nil
		im.wake()
		return nil
	}
	return im.pending[0]
}

// finish takes the archive that next returned off the list.
func (im *Importer) finish() {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.pending = im.pending[1:]
	im.wake()
}

// wake closes the channel that callers of Pending wait for. It is called with
// im.mu held.
func (im *Importer) wake() {
	close(im.changed)
	im.changed = make(chan struct{})
}

// scan lists the archives, with what is known about each at little cost, and
// returns which of them are layouts. It places the sandbox's image of the OS before it
// looks at what users have brought, which may be slow: each pod needs it.
func (im *Importer) scan(ctx context.Context, dirs []string) (layouts []string) {
	var found, system []*archive
	for _, path := range list(dirs) {
		var a *archive
		var err error
		switch {
		case path == dirs[0]:
			layouts = append(layouts, path)
			system = im.begin(ctx, path)
			continue
		case isLayout(path):
			layouts = append(layouts, path)
			_, a, err = inspectLayout(path, "")
		default:
			a, err = im.inspect(path)
		}
		if err != nil {
			im.failed(ctx, path, err)
			continue
		}
		im.complain(ctx, a)
		found = append(found, a)
	}
	dropReplaced(system, found)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.pending, im.scanned = inOrder(found, system), true
	im.wake()
	return layouts
}

// begin places the sandbox's image, lets pods start that wait for it, and returns what
// else the OS brings in the layout dir.
func (im *Importer) begin(ctx context.Context, dir string) (system []*archive) {
	sandbox, rest, err := inspectLayout(dir, im.sandbox)
	if err != nil {
		im.failed(ctx, dir, err)
		return nil
	}
	im.complain(ctx, rest)
	im.place(ctx, sandbox)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.begun = true
	im.wake()
	return []*archive{rest}
}

// inspect is the function of that name, with what is known from earlier boots.
func (im *Importer) inspect(path string) (*archive, error) {
	a, err := inspect(path)
	if err != nil {
		im.notes.keepOld(path)
		return nil, err
	}
	im.notes.recall(a)
	return a, nil
}

// complain names the images of an archive that it brings in vain.
func (im *Importer) complain(ctx context.Context, a *archive) {
	if a.flaws != nil {
		im.failed(ctx, a.path, a.flaws)
	}
}

// dropReplaced takes those names off the images of the OS that another archive
// brings, too: that one wins.
func dropReplaced(system, found []*archive) {
	for _, rest := range system {
		rest.names = slices.DeleteFunc(rest.names, func(name string) bool {
			return slices.ContainsFunc(found, func(a *archive) bool { return a.path != rest.path && slices.Contains(a.names, name) })
		})
	}
}

// inOrder puts the images of the OS where they belong: the pods of the OS let
// others go first, and so do their images, unless that would take long.
func inOrder(found, system []*archive) []*archive {
	var small, large []*archive
	for _, a := range found {
		if a.large {
			large = append(large, a)
		} else {
			small = append(small, a)
		}
	}
	return slices.Concat(small, system, large)
}

// list returns the archives and layouts in dirs, and the first of dirs itself if
// it is a layout. Directories that are missing are empty.
func list(dirs []string) []string {
	var paths []string
	for i, dir := range dirs {
		if i == 0 && isLayout(dir) {
			paths = append(paths, dir)
			continue
		}
		entries, _ := os.ReadDir(dir) // sorted by name
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if isArchive(e.Name()) && !e.IsDir() || e.IsDir() && isLayout(path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func isArchive(name string) bool {
	// Those in other formats are looked at, too, so that they are named.
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"} {
		if strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			return true
		}
	}
	return false
}

// place makes the images of a layout known.
func (im *Importer) place(ctx context.Context, a *archive) {
	begin := time.Now()
	changed, err := im.store.Place(ctx, a.path, a.names)
	switch {
	case err != nil && ctx.Err() == nil:
		im.failed(ctx, a.path, err)
	case err == nil && changed:
		im.imported(ctx, a.path, a.names, time.Since(begin))
	}
}

// one imports one archive, unless what it brings is there.
func (im *Importer) one(ctx context.Context, a *archive) {
	if a.layout {
		im.place(ctx, a)
		return
	}
	begin := time.Now()
	id, err := a.identify()
	if err != nil {
		im.notes.keepOld(a.path)
		im.failed(ctx, a.path, err)
		return
	}
	names, err := im.store.Has(ctx, id)
	if err != nil {
		log.G(ctx).WithError(err).Warnf("look for the images of %s", a.path)
	} else if len(names) > 0 {
		log.G(ctx).Infof("image archive %s was imported earlier", a.path)
		im.notes.keep(a, names)
		return
	}
	names, err = im.store.Import(ctx, a.path, id)
	if ctx.Err() != nil {
		return // it is not the archive's fault
	}
	im.notes.keep(a, names)
	if err != nil {
		im.failed(ctx, a.path, err)
	}
	if len(names) > 0 {
		im.imported(ctx, a.path, names, time.Since(begin))
	}
}

func (im *Importer) imported(ctx context.Context, path string, names []string, took time.Duration) {
	log.G(ctx).Infof("imported %s in %d ms: %s", path, took.Milliseconds(), strings.Join(names, " "))
	im.notify("image-imported", "ARCHIVE", filepath.Base(path), "MS", strconv.FormatInt(took.Milliseconds(), 10))
}

func (im *Importer) failed(ctx context.Context, path string, err error) {
	log.G(ctx).WithError(err).Errorf("import image archive %s", path)
	im.notify("image-failed", "ARCHIVE", filepath.Base(path), "ERROR", err.Error())
}

// Pending returns a channel that is closed at the next change if an archive
// that is not imported yet may bring the image ref, else nil.
func (im *Importer) Pending(ref string) <-chan struct{} {
	return im.whilePending(ref, (*archive).mayBring)
}

// Named is Pending for archives that are known to bring the image ref: one that
// is there already may be of an earlier boot, and about to be replaced.
func (im *Importer) Named(ref string) <-chan struct{} {
	return im.whilePending(ref, (*archive).brings)
}

func (im *Importer) whilePending(ref string, concerns func(*archive, string) bool) <-chan struct{} {
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case im.begun && !im.scanned && ref == im.sandbox:
		return nil
	case !im.scanned || slices.ContainsFunc(im.pending, func(a *archive) bool { return concerns(a, ref) }):
		return im.changed
	}
	return nil
}

// normalize returns a name the way CRI stores it: with the default registry and
// tag, where it has none.
func normalize(name string) (string, error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	return ref.String(), nil
}

var errNoName = errors.New("it names no image: " +
	"its index.json needs the annotation io.containerd.image.name or org.opencontainers.image.ref.name with a full name, such as example.org/app:1")

// errUnnamed is about one manifest of an index; others may have names.
var errUnnamed = errors.New("it has no name")
