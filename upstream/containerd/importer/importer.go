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
	"io"
	"io/fs"
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
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"kios/upstream/containerd/nodeevents"
)

// ID is the plugin's, of type InternalPlugin.
const ID = "kios-import"

// config is the plugin's section of the configuration file.
type config struct {
	// Directories are searched for archives, in this order, by name in each. A
	// later archive wins when two bring an image of the same name: order.go. The
	// first directory may be an OCI image layout instead, with the images of the OS,
	// over which every archive wins.
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
		containerd.WithDefaultPlatform(thisMachine),
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
	// Has returns what the archive id brought, if all of it is still there, else
	// nothing.
	Has(ctx context.Context, id digest.Digest, taken func(name string) bool) (brought, error)
	// Import imports the archive at path, and returns what it brings.
	Import(ctx context.Context, path string, id digest.Digest, taken func(name string) bool) (brought, error)
	// Place makes images known that stay in their layout in the directory dir,
	// and tells whether any was not.
	Place(ctx context.Context, dir string, names []string) (changed bool, err error)
	// Differ returns those of the names by which a layout has another image.
	Differ(ctx context.Context, dir string, names []string) ([]string, error)
	// Forget removes images that were placed from other layouts than dirs.
	Forget(ctx context.Context, dirs []string) error
	// Unpin leaves to the kubelet's garbage collection what other archives brought
	// than those with the IDs.
	Unpin(ctx context.Context, ids []digest.Digest) error
}

// brought are the images of an archive.
type brought struct {
	names  []string // those that are known now
	others []string // names that are taken by other images of another archive
}

func (b brought) all() []string { return slices.Concat(b.names, b.others) }

// Importer imports archives and knows which are still to come.
type Importer struct {
	store   Store
	sandbox string
	notify  func(event string, fields ...string)
	notes   *notes
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	begun   bool                // the sandbox's image of the OS has been placed
	scanned bool                // pending is complete
	pending []*archive          // not imported yet
	winners map[string]*archive // that have brought an image, by its name
	changed chan struct{}
}

// New returns an Importer that has not started: everything is pending.
func New(s Store, sandboxImage string) *Importer {
	return &Importer{
		store:   s,
		sandbox: sandboxImage,
		notify:  func(string, ...string) {},
		notes:   readNotes(""),
		winners: map[string]*archive{},
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
	var system *archive
	paths := im.list(ctx, dirs)
	if len(paths) > 0 && paths[0] == dirs[0] {
		system = im.begin(ctx, dirs[0])
		layouts, paths = append(layouts, dirs[0]), paths[1:]
	}
	found, more := im.look(ctx, paths)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.pending, im.scanned = inOrder(found, system), true
	im.wake()
	return append(layouts, more...)
}

// look lists what users have brought: of too many images, those of the last archives count.
func (im *Importer) look(ctx context.Context, paths []string) (found []*archive, layouts []string) {
	names := 0
	for i, path := range slices.Backward(paths) {
		a, err := im.inspect(path)
		if a != nil && a.layout {
			layouts = append(layouts, path)
		}
		if err == nil && names+len(a.names) > maxNames {
			err = errManyNames
		}
		if err != nil {
			im.notes.keepOld(path)
			im.failed(ctx, path, err)
			continue
		}
		a.rank, names = i+1, names+len(a.names)
		im.complain(ctx, a)
		found = append(found, a)
	}
	slices.Reverse(found)
	return found, layouts
}

// begin places the sandbox's image, lets pods start that wait for it, and returns what
// else the OS brings in the layout dir.
func (im *Importer) begin(ctx context.Context, dir string) (system *archive) {
	sandbox, rest, err := inspectLayout(dir, im.sandbox)
	if err != nil {
		im.failed(ctx, dir, err)
		return nil
	}
	sandbox.rank, rest.rank = sandboxRank, systemRank
	im.complain(ctx, rest)
	im.place(ctx, sandbox, sandbox.names)
	im.win(sandbox, sandbox.names)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.begun = true
	im.wake()
	return rest
}

// inspect is the function of that name, with what is known from earlier boots. A layout
// that cannot be read is still one.
func (im *Importer) inspect(path string) (*archive, error) {
	if isLayout(path) {
		_, a, err := inspectLayout(path, "")
		if err != nil {
			a = &archive{path: path, layout: true}
		}
		return a, err
	}
	a, err := inspect(path)
	if err != nil {
		return nil, err
	}
	im.notes.recall(a)
	return a, nil
}

// complain names the images of an archive that it brings in vain.
func (im *Importer) complain(ctx context.Context, a *archive) {
	if a.flaws != nil {
		im.failed(ctx, a.path, a.flaws)
		a.flaws = nil
	}
}

// list returns the archives and layouts in dirs, and the first of dirs itself if
// it is a layout. Directories that are missing are empty. If there are too many, the last
// ones count, as they do where two bring one image; what was known of the others stays.
func (im *Importer) list(ctx context.Context, dirs []string) (paths []string) {
	for i, dir := range slices.Backward(dirs) {
		if i == 0 && isLayout(dir) {
			paths = slices.Insert(paths, 0, dir)
			continue
		}
		in, all, err := archivesIn(dir, maxArchives-len(paths), im.notes.keepOld)
		if err != nil {
			im.notes.keepAllIn(dir)
			im.failed(ctx, dir, err)
		}
		if !all {
			im.failed(ctx, dir, errManyArchives)
		}
		paths = slices.Insert(paths, 0, in...)
	}
	return paths
}

// archivesIn returns at most so many archives and layouts in a directory, the last ones by
// name, sorted, and whether these are all. Each of the others goes to leaveOut.
func archivesIn(dir string, most int, leaveOut func(path string)) (paths []string, all bool, err error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			err = nil
		}
		return nil, true, err
	}
	defer d.Close()
	all = true
	for err == nil {
		var entries []fs.DirEntry
		entries, err = d.ReadDir(256)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if isArchive(e.Name()) && !e.IsDir() || e.IsDir() && isLayout(path) {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		if over := len(paths) - most; over > 0 {
			all = false
			for _, path := range paths[:over] {
				leaveOut(path)
			}
			paths = slices.Delete(paths, 0, over)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return paths, all, err
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

// place makes images of a layout known.
func (im *Importer) place(ctx context.Context, a *archive, names []string) {
	begin := time.Now()
	changed, err := im.store.Place(ctx, a.path, names)
	switch {
	case err != nil && ctx.Err() == nil:
		im.failed(ctx, a.path, err)
	case err == nil && changed:
		im.imported(ctx, a.path, names, time.Since(begin))
	}
}

// placeFree makes those images of a layout known whose names are not taken.
func (im *Importer) placeFree(ctx context.Context, a *archive) {
	taken := im.taken(a)
	if free := slices.DeleteFunc(slices.Clone(a.names), taken); len(free) > 0 || a.rank != systemRank {
		im.place(ctx, a, free) // with none, its layers are mounted
	}
	if a.rank == systemRank {
		return // whoever brings an image of the OS means to replace it
	}
	others, err := im.store.Differ(ctx, a.path, a.names)
	if err != nil {
		log.G(ctx).WithError(err).Warnf("look for the images of %s", a.path)
		return
	}
	im.win(a, slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return slices.Contains(others, name) }))
	im.tellTaken(ctx, a, slices.DeleteFunc(others, func(name string) bool { return !taken(name) }))
}

// one imports one archive, unless what it brings is there.
func (im *Importer) one(ctx context.Context, a *archive) {
	if a.layout {
		im.placeFree(ctx, a)
		return
	}
	begin := time.Now()
	id, err := a.identify()
	if err != nil {
		im.notes.keepOld(a.path)
		im.failed(ctx, a.path, err)
		return
	}
	taken := im.taken(a)
	b, err := im.store.Has(ctx, id, taken)
	if err != nil {
		log.G(ctx).WithError(err).Warnf("look for the images of %s", a.path)
	} else if len(b.all()) > 0 {
		log.G(ctx).Infof("image archive %s was imported earlier", a.path)
		im.bring(ctx, a, b, true)
		return
	}
	b, err = im.store.Import(ctx, a.path, id, taken)
	if ctx.Err() != nil {
		return // it is not the archive's fault
	}
	if err != nil {
		im.failed(ctx, a.path, err)
	}
	im.bring(ctx, a, b, err == nil)
	if len(b.names) > 0 {
		im.imported(ctx, a.path, b.names, time.Since(begin))
	}
}

// bring notes what an archive has brought. An image that could not be imported may be
// there at the next boot, so pods are to wait for it then.
func (im *Importer) bring(ctx context.Context, a *archive, b brought, whole bool) {
	var names []string
	if whole {
		names = b.all()
	}
	im.notes.keep(a, names)
	im.win(a, b.names)
	im.tellTaken(ctx, a, b.others)
}

func (im *Importer) imported(ctx context.Context, path string, names []string, took time.Duration) {
	log.G(ctx).Infof("imported %s in %d ms: %s", path, took.Milliseconds(), strings.Join(names, " "))
	im.notify("image-imported", "ARCHIVE", filepath.Base(path), "MS", strconv.FormatInt(took.Milliseconds(), 10))
}

// maxReason bounds a reason, in bytes: an archive can have very many flaws.
const maxReason = 1000

func (im *Importer) failed(ctx context.Context, path string, err error) {
	reason := strings.Join(strings.Fields(err.Error()), " ")
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "..."
	}
	log.G(ctx).WithField("error", reason).Errorf("import image archive %s", path)
	im.notify("image-failed", "ARCHIVE", filepath.Base(path), "ERROR", reason)
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
	name, err := normalize(ref)
	if err != nil {
		name = ref // of a digest, or of nothing
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case im.begun && !im.scanned && ref == im.sandbox:
		return nil
	case !im.scanned || slices.ContainsFunc(im.pending, func(a *archive) bool { return concerns(a, name) && !im.taken(a)(name) }):
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
