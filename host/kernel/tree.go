package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"kios/host/arch"
	"kios/host/debian"
	"kios/host/filetree"
	"kios/host/hosttool"
	"kios/host/progress"
)

// tree is an unpacked kernel source in which the build takes place. Building
// in the source tree keeps most paths relative by itself.
type tree struct {
	arch arch.Arch
	dir  string
	date time.Time // of the source package: the kernel's build date
	btf  bool      // make type information, with pahole

	hugePages string // library for the compilers, see buildHugePages
}

// kconfigFiles are patterns of what configuring needs of the source: a tenth of it.
var kconfigFiles = []string{"*/Kconfig*", "*/Makefile*", "*/scripts/*", "*/configs/*", "*/include/linux/compiler*"}

// unpack unpacks the source in work, or the files of it that have one of the patterns.
func (r recipe) unpack(ctx context.Context, work string, patterns []string) (*tree, error) {
	if err := debian.Extract(ctx, r.src, work); err != nil {
		return nil, err
	}
	archives, _ := filepath.Glob(filepath.Join(work, "usr/src/linux-source-*.tar.xz"))
	if len(archives) != 1 {
		return nil, fmt.Errorf("%s has %d archives usr/src/linux-source-*.tar.xz, not one", r.src.Path, len(archives))
	}
	info, err := os.Stat(archives[0])
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "linux")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	args := append([]string{"-xf", archives[0], "-C", dir, "--strip-components=1", "--wildcards"}, patterns...)
	cmd := hosttool.Exec(ctx, "tar", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack %s: %w: %s", archives[0], err, tail(string(out), 3))
	}
	hugePages, err := buildHugePages(ctx, work)
	if err != nil {
		return nil, err
	}
	return &tree{arch: r.arch, dir: dir, date: info.ModTime().UTC(), btf: wantsBTF(r.opts), hugePages: hugePages}, nil
}

// make returns a call of make in an environment that holds what the product
// may depend on, and nothing of the caller's (CFLAGS, ARCH, KBUILD_...).
func (t *tree) make(ctx context.Context, args ...string) *exec.Cmd {
	all := []string{"-C", t.dir, "--no-print-directory", "RUSTC=none"}
	if !t.btf {
		// Kconfig notes which tools it finds, and its notes are in the image.
		all = append(all, "PAHOLE=none")
	}
	cmd := hosttool.Exec(ctx, "make", append(all, args...)...)
	// Debug information names the source tree; it is not in the image, but
	// the build ID is a hash over it.
	prefix := "-ffile-prefix-map=" + t.dir + "/="
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", // depmod, for those who are not root
		"HOME=" + os.Getenv("HOME"),
		"LC_ALL=C",
		"TZ=UTC",
		"LD_PRELOAD=" + t.hugePages,
		"ARCH=" + t.arch.Kernel.Arch,
		"CROSS_COMPILE=" + t.arch.CrossCompile(),
		"KBUILD_BUILD_USER=kios",
		"KBUILD_BUILD_HOST=kios",
		"KBUILD_BUILD_VERSION=1",
		"KBUILD_BUILD_TIMESTAMP=" + t.date.Format(time.UnixDate),
		"KCFLAGS=" + prefix,
		"KAFLAGS=" + prefix,
	}
	return cmd
}

// configure writes the .config of tinyconfig and the options, and checks that
// all of them took.
func (t *tree) configure(ctx context.Context, opts []option) error {
	if err := runMake(t.make(ctx, "tinyconfig")); err != nil {
		return err
	}
	path := filepath.Join(t.dir, ".config")
	tiny, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Kconfig takes the last of two settings of one option.
	if err := os.WriteFile(path, append(tiny, render(opts)...), 0o644); err != nil {
		return err
	}
	if err := runMake(t.make(ctx, "olddefconfig")); err != nil {
		return err
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return verify(opts, string(config))
}

// compile builds the kernel and modules, and reports on step how many of the
// objects are done.
func (t *tree) compile(ctx context.Context, step *progress.Step) error {
	jobs := fmt.Sprintf("-j%d", runtime.GOMAXPROCS(0)) // minds the limits of a cgroup
	step.Note("preparing")
	if err := runMake(t.make(ctx, jobs, "prepare")); err != nil {
		return err
	}
	targets, err := t.targets()
	if err != nil {
		return err
	}
	// A dry run ends with an error where a rule wants a file that a real run
	// would have made; by then it has listed the objects (-k: all of them).
	plan, _ := t.make(ctx, append([]string{"-n", "-k"}, targets...)...).Output()
	c := newCounter(string(plan))
	step.Note("objects")
	return runMakeTo(t.make(ctx, append([]string{jobs}, targets...)...), func(line string) {
		if done, total := c.saw(line); done == total && total > 0 {
			step.Note("objects, linking")
		}
		step.Set(c.done, len(c.want))
	})
}

// targets is what to make: modules only if there are any.
func (t *tree) targets() ([]string, error) {
	config, err := os.ReadFile(filepath.Join(t.dir, ".config"))
	if err != nil {
		return nil, err
	}
	for _, v := range values(string(config)) {
		if v == "m" {
			return []string{t.arch.Kernel.Target, "modules"}, nil
		}
	}
	return []string{t.arch.Kernel.Target}, nil
}

// install copies the product to out.
func (t *tree) install(ctx context.Context, out string) error {
	files := map[string]string{
		t.arch.Kernel.Image:             "vmlinuz",
		"System.map":                    "System.map",
		".config":                       "config",
		"include/config/kernel.release": "kernel.release",
	}
	for from, to := range files {
		if err := filetree.CopyFile(ctx, filepath.Join(out, to), filepath.Join(t.dir, from), 0o644); err != nil {
			return err
		}
	}
	targets, err := t.targets()
	if err != nil || len(targets) == 1 {
		return err
	}
	return runMake(t.make(ctx, "INSTALL_MOD_PATH="+filepath.Join(out, "modules"), "INSTALL_MOD_STRIP=1", "modules_install"))
}

func runMake(cmd *exec.Cmd) error { return runMakeTo(cmd, func(string) {}) }

// runMakeTo runs cmd and calls saw for each line of its output. An error
// carries the last lines, where make and the compiler say what went wrong.
func runMakeTo(cmd *exec.Cmd, saw func(line string)) error {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	var last []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			saw(lines.Text())
			if last = append(last, lines.Text()); len(last) > 20 {
				last = last[1:]
			}
		}
		io.Copy(io.Discard, r)
	}()
	err := cmd.Run()
	w.Close()
	<-read
	if err == nil {
		return nil
	}
	what := cmd.Args[len(cmd.Args)-1]
	return fmt.Errorf("make %s: %w\n%s", what, err, strings.Join(last, "\n"))
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// counter counts the objects of a build that make has announced.
type counter struct {
	want map[string]bool // false once seen
	done int
}

// In a dry run make prints the command `echo '  CC      init/main.o'`; in a
// real one the line itself, when it starts on that object.
var (
	plannedObject = regexp.MustCompile(`echo '  (?:CC|AS)\s+(?:\[M\]\s+)?(\S+\.o)'`)
	startedObject = regexp.MustCompile(`^  (?:CC|AS)\s+(?:\[M\]\s+)?(\S+\.o)$`)
)

// newCounter learns the objects from what `make -n` printed.
func newCounter(plan string) *counter {
	c := &counter{want: map[string]bool{}}
	for _, m := range plannedObject.FindAllStringSubmatch(plan, -1) {
		c.want[m[1]] = true
	}
	return c
}

// saw takes in a line of make's output and returns the state: objects started
// of objects planned. What was not planned (boot code, tools) does not count.
func (c *counter) saw(line string) (done, total int) {
	if m := startedObject.FindStringSubmatch(line); m != nil && c.want[m[1]] {
		c.want[m[1]] = false
		c.done++
	}
	return c.done, len(c.want)
}
