package modules

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// output is a log that a test waits for lines in.
type output struct{ lab.Buffer }

func (o *output) expect(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(o.String(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the log:\n%s", want, o)
		}
	}
}

// machine is a Service with a sysfs and a tree made of files. What it loads is
// a directory in that sysfs then, as with the real one.
type machine struct {
	Service
	out    output
	loaded []string
	errs   map[string]error // of insert, by module
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	m := &machine{errs: map[string]error{}}
	m.Service = Service{
		Sysfs:   filepath.Join(dir, "sys"),
		Modules: filepath.Join(dir, "modules/6.18.0-test"),
		File:    filepath.Join(dir, "etc/modules.yaml"),
		Log:     log.New(&m.out, "", 0),
	}
	m.insert = func(file string, params []string) (bool, error) {
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		if err := m.errs[name]; err != nil {
			return false, err
		}
		m.loaded = append(m.loaded, strings.TrimSpace(name+" "+strings.Join(params, " ")))
		return true, os.MkdirAll(filepath.Join(m.Sysfs, "module", name), 0o755)
	}
	for name, text := range map[string]string{
		"modules.dep": "kernel/a/card.ko: kernel/a/core.ko kernel/a/lib.ko\nkernel/a/core.ko: kernel/a/lib.ko\nkernel/a/lib.ko:\n" +
			"kernel/a/other.ko:\nkernel/a/rival.ko:\nkernel/a/extra.ko:\n",
		"modules.alias":   "alias pci:v00008086d00001533sv*sd*bc*sc*i* card\nalias pci:v00008086d*sv*sd*bc02sc*i* rival\nalias usb:v1D6Bp*d* other\n",
		"modules.softdep": "softdep other pre: extra\n",
		"modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	} {
		lab.WriteFile(t, filepath.Join(m.Modules, name), text)
	}
	for _, name := range []string{"card", "core", "lib", "other", "rival", "extra"} {
		lab.WriteFile(t, filepath.Join(m.Modules, "kernel/a", name+".ko"), "\x00license=GPL\x00parmtype=debug:int\x00parmtype=mode:charp\x00")
	}
	os.MkdirAll(filepath.Dir(m.File), 0o755)
	return m
}

func (m *machine) device(t *testing.T, bus, name, alias string) string {
	t.Helper()
	dir := filepath.Join(m.Sysfs, "bus", bus, "devices", name)
	lab.WriteFile(t, filepath.Join(dir, "modalias"), alias+"\n")
	return dir
}

const (
	card  = "pci:v00008086d00001533sv00000000sd00000000bc02sc00i00"
	nic   = "pci:v00008086d00009999sv00000000sd00000000bc02sc00i00"
	stick = "usb:v1D6Bp0104d0100"
)

// once does what Run does at its start.
func (m *machine) once() {
	m.prepare()
	m.readFile()
	m.loadAll()
}

func TestColdplug(t *testing.T) {
	m := newMachine(t)
	m.device(t, "pci", "0000:00:03.0", card)
	m.device(t, "pci", "0000:00:04.0", card)
	m.device(t, "usb", "1-1:1.0", stick)
	m.device(t, "platform", "unknown.0", "platform:unknown")
	driven := m.device(t, "pci", "0000:00:05.0", "pci:v00008086d00000001sv0sd0bc02sc00i00")
	lab.Must(t, os.Symlink("../../drivers/x", filepath.Join(driven, "driver")))
	lab.WriteFile(t, m.File, "never: [rival]\n")
	m.once()
	if diff := cmp.Diff([]string{"lib", "core", "card", "extra", "other"}, m.loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"loaded lib: card needs it\n",
		"loaded card: pci device 0000:00:03.0 (" + card + ")\n",
		"loaded extra: other needs it\n",
		"devices without a driver: 3 kinds; modules loaded for them: 5",
	} {
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, m.out.String())
		}
	}
	m.loaded = nil
	m.once() // a restart of the pod
	if len(m.loaded) > 0 {
		t.Errorf("loaded again: %q", m.loaded)
	}
}

func TestNamed(t *testing.T) {
	m := newMachine(t)
	lab.WriteFile(t, m.File, "load: [{name: card, parameters: {debug: 3}}, ext4, missing, {name: core, parameters: {mode: a, no_such: 1}}]\n")
	m.once()
	// What the file says of core counts although card brings it along.
	if diff := cmp.Diff([]string{"lib", "core mode=a no_such=1", "card debug=3"}, m.loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"loaded card debug=3: " + m.File + " names it\n",
		"ext4 is built in (" + m.File + " names it)\n",
		"there is no module missing, neither built into the kernel nor in " + m.Modules + "\n",
		"core has no parameter no_such; it has: debug mode\n",
	} {
		if !strings.Contains(m.out.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, m.out.String())
		}
	}
}

func TestNeverAsDependency(t *testing.T) {
	m := newMachine(t)
	m.device(t, "pci", "0000:00:03.0", card)
	m.device(t, "usb", "1-1:1.0", stick)
	lab.WriteFile(t, m.File, "never: [core, rival, extra]\n")
	m.once()
	if diff := cmp.Diff([]string{"other"}, m.loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	if want := "card is not loaded (pci device 0000:00:03.0 (" + card + ")): it needs core, which " + m.File + " names under never\n"; !strings.Contains(m.out.String(), want) {
		t.Errorf("no %q in the log:\n%s", want, m.out.String())
	}
}

// TestFailsOnce holds that what failed is tried again when the file changes,
// and not before.
func TestFailsOnce(t *testing.T) {
	m := newMachine(t)
	m.errs["rival"] = fmt.Errorf("load rival.ko: %w", unix.EKEYREJECTED)
	m.device(t, "pci", "0000:00:04.0", nic)
	m.once()
	for range 3 {
		m.hotplug([]event{{device: device{"pci device 0000:00:04.0", nic}}, {lost: true}})
	}
	if got := strings.Count(m.out.String(), "rival (pci device 0000:00:04.0 ("+nic+")): load rival.ko: key was rejected by service"); got != 1 {
		t.Errorf("the failure is logged %d times:\n%s", got, m.out.String())
	}
	delete(m.errs, "rival")
	m.readFile()
	m.loadAll()
	if diff := cmp.Diff([]string{"rival"}, m.loaded); diff != "" {
		t.Errorf("loaded after a change (-want +got):\n%s", diff)
	}
}

// TestDependencyFailsOnce holds that two modules that need a third do not try
// it twice.
func TestDependencyFailsOnce(t *testing.T) {
	m := newMachine(t)
	lab.WriteFile(t, filepath.Join(m.Modules, "modules.dep"), "a/one.ko: a/lib.ko\na/two.ko: a/lib.ko\na/lib.ko:\n")
	m.errs["lib"] = fmt.Errorf("load lib.ko: %w", unix.ENOENT)
	lab.WriteFile(t, m.File, "load: [one, two]\n")
	m.once()
	if len(m.loaded) > 0 || strings.Count(m.out.String(), "load lib.ko") != 1 || !strings.Contains(m.out.String(), "two is not loaded ("+m.File+" names it): it needs lib, which could not be loaded\n") {
		t.Errorf("loaded %q; log:\n%s", m.loaded, m.out.String())
	}
}

func TestLongAlias(t *testing.T) {
	d := device{"the processor", "cpu:" + strings.Repeat("x", 1000)}
	if got := d.String(); len(got) > 120 || !strings.HasPrefix(got, "the processor (cpu:xxx") || !strings.HasSuffix(got, "x...)") {
		t.Errorf("String() = %q", got)
	}
}

func TestHotplug(t *testing.T) {
	m := newMachine(t)
	m.once()
	m.hotplug([]event{{device: device{"usb device 1-1:1.0", stick}}})
	if diff := cmp.Diff([]string{"extra", "other"}, m.loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	m.device(t, "pci", "0000:00:03.0", nic)
	m.hotplug([]event{{lost: true}})
	if diff := cmp.Diff([]string{"extra", "other", "rival"}, m.loaded); diff != "" {
		t.Errorf("loaded after a loss (-want +got):\n%s", diff)
	}
}

func TestNoTree(t *testing.T) {
	m := newMachine(t)
	m.device(t, "pci", "0000:00:03.0", card)
	m.Modules = filepath.Join(t.TempDir(), "6.0-none")
	lab.WriteFile(t, m.File, "load: [core]\n")
	m.once()
	m.hotplug([]event{{device: device{"usb device 1-1:1.0", stick}}})
	for _, want := range []string{"there are no modules for the kernel 6.0-none", m.File + ": core is not loaded: open "} {
		if strings.Count(m.out.String(), want) != 1 {
			t.Errorf("not one %q in the log:\n%s", want, m.out.String())
		}
	}
}

// TestOtherValues is about a module that was there before the service.
func TestOtherValues(t *testing.T) {
	m := newMachine(t)
	for name, value := range map[string]string{"debug": "2", "on": "Y", "mode": "strange", "same": "5"} {
		lab.WriteFile(t, filepath.Join(m.Sysfs, "module/core/parameters", name), value+"\n")
	}
	lab.WriteFile(t, m.File, "load: [{name: core, parameters: debug=3 on=1 mode=x same=5}]\n")
	m.once()
	want := "core was already loaded, with debug=2 instead of 3: write core.debug=3 on the kernel command line\n"
	if got := m.out.String(); !strings.Contains(got, want) || strings.Count(got, "was already loaded") != 1 {
		t.Errorf("not only %q in the log:\n%s", want, got)
	}
}

// TestFileChanges runs the service as it runs in the pod.
func TestFileChanges(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	m.out.expect(t, "devices without a driver")
	lab.WriteFile(t, m.File, "load: [core]\n")
	m.out.expect(t, "loaded core: ")
	lab.WriteFile(t, m.File+".new", "load: [other]\n")
	lab.Must(t, os.Rename(m.File+".new", m.File))
	m.out.expect(t, "loaded other: ")
	lab.WriteFile(t, m.File, "load: [rival\n")
	m.out.expect(t, m.File+": ")
	lab.Must(t, os.Remove(m.File))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBadFileChangesNothing holds that a mistake does not switch a driver on
// that the user has switched off.
func TestBadFileChangesNothing(t *testing.T) {
	m := newMachine(t)
	lab.WriteFile(t, m.File, "never: [rival]\n")
	m.once()
	lab.WriteFile(t, m.File, "never: [rival\n")
	m.readFile()
	m.device(t, "pci", "0000:00:04.0", nic)
	m.loadAll()
	if len(m.loaded) > 0 {
		t.Errorf("loaded: %q", m.loaded)
	}
}
