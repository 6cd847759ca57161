package userconfig

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// aliases is a document of aliases of aliases: each level has ten times the one below.
func aliases(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	return b.String()
}

// hostile are files that cost a parser much more than their size, or that have what text
// editors and programs leave in files.
var hostile = map[string]string{
	"lists in lists":             head + "registerWithTaints: " + strings.Repeat("[", 200_000),
	"closed lists in lists":      head + "registerWithTaints: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
	"tables in tables":           head + "logging: " + strings.Repeat("{a: ", 9000) + strings.Repeat("}", 9000),
	"tables by indentation":      head + indented(700),
	"aliases of aliases":         head + aliases(9),
	"allowed aliases":            head + aliases(5),
	"aliases in a known list":    head + "clusterDNS: &d [" + strings.Repeat("10.0.0.1, ", 2000) + "]\n" + aliasesOf("*d", 190),
	"an alias of itself":         head + "evictionHard: &e {a: *e}\n",
	"huge numbers":               head + "maxPods: 1" + strings.Repeat("0", 1000) + "\nport: 1e999\neventBurst: -.inf\nkubeAPIQPS: .nan\n",
	"a number of many digits":    head + "maxPods: " + strings.Repeat("9", 200_000) + "\n",
	"an exponent":                head + "containerLogMaxSize: 1e999999999\nkubeReserved: {memory: 1e999999999, cpu: 1e-999999999}\n",
	"an exponent by itself":      head + "systemReserved: {memory: '1E+999999999'}\n",
	"an exponent of a threshold": head + "evictionHard: {memory.available: 1e-999999999}\n",
	"an exponent in a list":      head + "reservedMemory: [{numaNode: 0, limits: {memory: 1e-999999999}}]\n",
	"NULs":                       head + "maxPods: 3\x00\n",
	"BOM":                        "\ufeff" + head + "maxPods: 30\n",
	"UTF-16":                     "\xff\xfea\x00:\x00 \x001\x00",
	"CRLF":                       strings.ReplaceAll(head+"maxPods: 30\nclusterDNS:\n- 10.0.0.1\n", "\n", "\r\n"),
	"keys that are there twice":  head + strings.Repeat("maxPods: 30\n", 20_000),
	"tags":                       head + "maxPods: !!binary aGVsbG8=\nport: !!python/object:os.system {}\n",
	"keys that are no text":      head + "1: a\n? [a, b]\n: c\nnull: d\n",
	"merge keys":                 head + "evictionHard: &e {memory.available: 1%}\nevictionSoft: {<<: *e}\n<<: [*e, *e]\n",
	"two documents":              head + "---\n" + head + "maxPods: 30\n",
	"unknown fields":             head + many("a%d: {b: 1}\n", 16_000),
	"gates that are none":        head + "featureGates:\n" + many("  A%d: true\n", 15_000),
	"bad taints":                 head + "registerWithTaints:\n" + many("- {key: 'a b%d'}\n", 13_000),
	"bad sysctls":                head + "allowedUnsafeSysctls:\n" + many("- a%d\n", 28_000),
	"bad known fields":           head + badFields(),
	"bad keys of known maps":     head + badMaps(maxKeys),
	"unknown reserves":           head + "kubeReserved:\n" + many("  a%d: x\n", 20_000),
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// badFields has a value for each known field that the kubelet takes for a value of its type,
// and mostly refuses.
func badFields() string {
	var b strings.Builder
	fields := jsonFields(reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		kind := fields[name]
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		bad := map[reflect.Kind]string{reflect.String: "none", reflect.Int32: "-7", reflect.Int64: "-7", reflect.Float64: "-7"}[kind.Kind()]
		if kind == reflect.TypeFor[metav1.Duration]() {
			bad = "-7s"
		}
		if bad != "" && name != "apiVersion" && name != "kind" {
			fmt.Fprintf(&b, "%s: %s\n", name, bad)
		}
	}
	return b.String()
}

// badMaps has n bad keys for each known map of texts.
func badMaps(n int) string {
	var b strings.Builder
	for name, kind := range jsonFields(reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]()) {
		if kind == reflect.TypeFor[map[string]string]() {
			b.WriteString(name + ":\n" + many("  a%d: x\n", n))
		}
	}
	return b.String()
}

func aliasesOf(alias string, n int) string {
	return "registerWithTaints: [" + strings.Repeat(alias+", ", n) + "]\n"
}

func indented(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// checkAlone checks one file as on a node with the real defaults, and returns what is said.
func checkAlone(t testing.TB, text []byte) string {
	dir := t.TempDir()
	etc, dropins := filepath.Join(dir, "etc"), filepath.Join(dir, "kubelet.d")
	for _, err := range []error{
		os.Mkdir(etc, 0o700), os.Mkdir(dropins, 0o700), os.WriteFile(filepath.Join(etc, "config.yaml"), text, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	kc := Check(etc, []string{"--config", "../../../rootfs/usr/share/kios/kubelet.yaml", "--config-dir=" + dropins}, testSystem, &log)
	if kc == nil {
		t.Errorf("no configuration at all: %s", log.String())
	} else if kc.StaticPodPath != "/etc/kubernetes/manifests" {
		t.Errorf("static pods are in %q", kc.StaticPodPath)
	}
	return log.String()
}

// checkSaid bounds what is said about one file.
func checkSaid(t testing.TB, log string) {
	if lines := strings.Count(log, "\n"); lines > 2*maxNotes {
		t.Errorf("%d lines are said", lines)
	}
	for line := range strings.Lines(log) {
		if len(line) > 2*maxLine {
			t.Errorf("a line has %d bytes: %.200q", len(line), line)
		}
	}
}

// A file that is made to cost much costs little, and the node has a configuration.
func TestHostileFiles(t *testing.T) {
	for name, text := range hostile {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if len(text) > maxFile {
				t.Fatalf("the file has %d bytes, of which nothing is read", len(text))
			}
			// What is allocated is the work that is done, on a busy machine, too.
			if used := allocated(func() { checkSaid(t, checkAlone(t, []byte(text))) }); used > maxWork {
				t.Errorf("%d MB are allocated, want at most %d", used>>20, maxWork>>20)
			}
		})
	}
}

// The search for what is bad has an end, and a file without faults before it counts.
func TestManyFilesWithManyFaults(t *testing.T) {
	files := map[string]string{"config.yaml": head + "eventBurst: 77\n"}
	for i := range maxFiles - 1 {
		files[fmt.Sprintf("config.d/%02d.yaml", i)] = head + strings.ReplaceAll(badFields(), "eventBurst", "eventRecordQPS")
	}
	used := allocated(func() {
		kc, log := effective(t, testSystem, false, files)
		if kc.EventBurst != 77 || strings.Contains(log, "config.yaml: ") || !strings.Contains(log, "62.yaml: ignoring what was not looked at, as the files have very many faults") {
			t.Errorf("eventBurst %d, log %s", kc.EventBurst, log)
		}
	})
	if used > maxWork {
		t.Errorf("%d MB are allocated, want at most %d", used>>20, maxWork>>20)
	}
}

// All files together have a bound, too.
func TestManyLargeFiles(t *testing.T) {
	large := head + many("# %d\n", 28_000)
	_, log := effective(t, testSystem, false, map[string]string{
		"config.d/1.yaml": large, "config.d/2.yaml": large, "config.d/3.yaml": large, "config.d/4.yaml": head,
	})
	if !strings.Contains(log, "3.yaml: with it, the files have more than 524288 bytes together: using defaults") || strings.Count(log, "\n") != 1 {
		t.Errorf("log %q", log)
	}
}

// maxWork is what the check of one file may allocate, in bytes: most of it is garbage at once.
const maxWork = 400 << 20

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzCheck has any bytes as the user's file.
func FuzzCheck(f *testing.F) {
	klog.SetLogger(logr.Discard())
	f.Add([]byte(head + "maxPods: 30\nfeatureGates: {A: true}\nregisterWithTaints: [{key: a, effect: NoSchedule}]\nevictionHard: {memory.available: 5%}\n"))
	f.Add([]byte(head + "tlsCertFile: /etc/hostname\nkubeReserved: {memory: 1Gi}\nlogging: {format: json}\nshutdownGracePeriod: 1h\nreservedSystemCPUs: 0-3\n"))
	for _, text := range hostile {
		if len(text) < 2000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if used := allocated(func() { checkSaid(t, checkAlone(t, text)) }); used > maxWork {
			t.Errorf("%d bytes of a file have %d MB allocated", len(text), used>>20)
		}
	})
}
