package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"
	"github.com/containerd/plugin/registry"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"kios/upstream/containerd/server"
	"kios/upstream/containerd/userconfig"
)

const nodeConfig = "../../rootfs/usr/share/kios/containerd.toml"

// startEnv makes the test's program containerd, with the arguments that are its value.
const startEnv = "KIOS_TEST_CONTAINERD"

// toolEnv makes it containerd with the arguments of its command line.
const toolEnv = "KIOS_TEST_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(toolEnv) != "" {
		main()
		return
	}
	if value := os.Getenv(startEnv); value != "" {
		args := strings.Fields(value)
		if err := startWith(context.Background(), args[:3], args[3], args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	register(nil, server.Options{})
	os.Exit(m.Run())
}

// etcWith returns a directory like /etc with files: alternating names and contents.
func etcWith(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// configDefault is what "containerd config default" prints.
func configDefault(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	text := make(chan []byte)
	go func() { b, _ := io.ReadAll(r); text <- b }()
	err = command.App().Run(t.Context(), []string{"containerd", "config", "default"})
	os.Stdout = stdout
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return string(<-text)
}

// check loads the files in etc, as on a node that was just installed.
func check(t *testing.T, etc string) (*srvconfig.Config, []string) {
	t.Helper()
	r, err := userconfig.Source{Node: nodeConfig, Etc: etc, Elsewhere: true}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Config == nil {
		return nil, r.Lines
	}
	return decodes(t, r.Config), r.Lines
}

// decodes loads a configuration as containerd does, the sections of all plugins included.
func decodes(t *testing.T, text []byte) *srvconfig.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	config := &srvconfig.Config{Version: version.ConfigVersion}
	if err := srvconfig.LoadConfig(t.Context(), path, config); err != nil {
		t.Fatal(err)
	}
	ctx := log.WithLogger(t.Context(), logrus.NewEntry(&logrus.Logger{Out: io.Discard})) // of unknown keys
	for _, r := range registry.Graph(nil) {
		if r.Config == nil {
			continue
		}
		if _, err := config.Decode(ctx, r.URI(), reflect.New(reflect.TypeOf(r.Config).Elem()).Interface()); err != nil {
			t.Errorf("[plugins.%q]: %v", r.URI(), err)
		}
	}
	return config
}

// at returns a value of the configuration as text.
func at(c *srvconfig.Config, plugin string, path ...string) string {
	var v any = c.Plugins[plugin]
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return fmt.Sprint(v)
}

const (
	criImages  = "io.containerd.cri.v1.images"
	criRuntime = "io.containerd.cri.v1.runtime"
)

// checkUsable looks at what pods of a node cannot be without.
func checkUsable(t *testing.T, c *srvconfig.Config) {
	t.Helper()
	for _, want := range []struct {
		plugin, value string
		path          []string
	}{
		{criImages, "kios.local/pause:1", []string{"pinned_images", "sandbox"}},
		{criImages, "overlayfs", []string{"snapshotter"}},
		{criRuntime, "runc", []string{"containerd", "default_runtime_name"}},
		{criRuntime, "io.containerd.runc.v2", []string{"containerd", "runtimes", "runc", "runtime_type"}},
		{criRuntime, "/bin/runc", []string{"containerd", "runtimes", "runc", "options", "BinaryName"}},
		{criRuntime, "false", []string{"containerd", "runtimes", "runc", "options", "SystemdCgroup"}},
		{criRuntime, "true", []string{"cni", "use_internal_loopback"}},
		{"io.containerd.server.v1.grpc", "/run/containerd/containerd.sock", []string{"address"}},
		{"io.containerd.server.v1.ttrpc", "/run/containerd/containerd.sock.ttrpc", []string{"address"}},
		{"io.containerd.internal.v1.kios-import", "kios.local/pause:1", []string{"sandbox_image"}},
	} {
		if got := at(c, want.plugin, want.path...); got != want.value {
			t.Errorf("%s of %s = %s, want %s", strings.Join(want.path, "."), want.plugin, got, want.value)
		}
	}
	if dirs := at(c, criRuntime, "cni", "bin_dirs"); !strings.Contains(dirs, "/opt/cni/bin") {
		t.Errorf("bin_dirs = %s, want /opt/cni/bin among them", dirs)
	}
	if env := at(c, "io.containerd.shim.v1.manager", "env"); !strings.Contains(env, "PATH=/bin") {
		t.Errorf("env of shims = %s, want the node's PATH", env)
	}
	for _, want := range []string{"io.containerd.runc.v2.group", "kubernetes.io/config.source"} {
		if got := at(c, criRuntime, "containerd", "runtimes", "runc", "pod_annotations"); !strings.Contains(got, want) {
			t.Errorf("pod_annotations of runc = %s, want %s among them: the system's pods share a shim", got, want)
		}
	}
	if c.Root != "/var/lib/containerd" || c.State != "/run/containerd" || c.Cgroup.Path != "" {
		t.Errorf("root %q, state %q, cgroup %q", c.Root, c.State, c.Cgroup.Path)
	}
	if slices.Contains(c.DisabledPlugins, "io.containerd.grpc.v1.cri") {
		t.Error("CRI is disabled")
	}
}

// foreign are the files of other distributions, and what is said about each.
var foreign = []struct {
	name  string
	lines []string
}{
	{"eks.toml", []string{"pinned_images.sandbox", "runtimes.runc.options.SystemdCgroup", "runtimes.runc.options.BinaryName", "base_runtime_spec"}},
	{"gke.toml", []string{"metrics", "pinned_images.sandbox", "runtimes.runc.options.SystemdCgroup"}},
	{"docker.toml", []string{"disabled_plugins"}},
	{"deckhouse.toml", []string{"pinned_images.sandbox", "runtimes.runc.options.SystemdCgroup"}},
	{"nvidia.toml", []string{"runtimes.nvidia.options.SystemdCgroup", "default_runtime_name"}},
	{"default-1.7.toml", []string{"pinned_images.sandbox", "runtimes.runc.options.SystemdCgroup"}},
	{"config default", []string{"pinned_images.sandbox", "NRI is on"}},
}

func foreignFile(t *testing.T, name string) string {
	if name == "config default" {
		return configDefault(t)
	}
	return testdata(t, name)
}

func TestForeignFilesAreTaken(t *testing.T) {
	for _, tt := range foreign {
		t.Run(tt.name, func(t *testing.T) {
			c, lines := check(t, etcWith(t, userconfig.Main, foreignFile(t, tt.name)))
			if c == nil {
				t.Fatalf("nothing of it is used: %q", lines)
			}
			checkUsable(t, c)
			for _, want := range tt.lines {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
					t.Errorf("no line has %q", want)
				}
			}
			// A line about each, and none about what is as on other nodes.
			if len(lines) > len(tt.lines)+2 {
				t.Errorf("more lines than expected:\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}

func TestForeignValuesThatAreTrueHereStay(t *testing.T) {
	c, _ := check(t, etcWith(t, userconfig.Main, testdata(t, "gke.toml")))
	if got := at(c, criRuntime, "max_container_log_line_size"); got != "262144" {
		t.Errorf("max_container_log_line_size = %s", got)
	}
	if got := at(c, criRuntime, "cni", "bin_dirs"); !strings.Contains(got, "/home/kubernetes/bin") {
		t.Errorf("bin_dirs = %s", got)
	}
	if got := at(c, criRuntime, "containerd", "runtimes", "gvisor", "runtime_type"); got != "io.containerd.runsc.v1" {
		t.Errorf("gvisor is %s", got)
	}
	c, _ = check(t, etcWith(t, userconfig.Main, testdata(t, "deckhouse.toml")))
	if got := at(c, criImages, "registry", "mirrors", "hub.example", "endpoint"); got != "[https://mirror.example]" {
		t.Errorf("mirror = %s", got)
	}
	// CRI refuses mirrors beside a config_path, which is the node's.
	if got := at(c, criImages, "registry", "config_path"); got != "" {
		t.Errorf("config_path = %q, want none beside mirrors", got)
	}
}

const v4 = "version = 4\n"

func cri(key string) string { return v4 + "[plugins.\"" + criRuntime + "\"]\n" + key + "\n" }
func img(key string) string { return v4 + "[plugins.\"" + criImages + "\"]\n" + key + "\n" }
func runc(key string) string {
	return v4 + "[plugins.\"" + criRuntime + "\".containerd.runtimes.runc]\n" + key + "\n"
}

// badValues are values that cannot be used, and what the line about each has.
var badValues = []struct{ name, content, line string }{
	{"type of a key", "version = 4\noom_score = \"low\"\n", "oom_score is not used"},
	{"type of a list", "version = 4\ndisabled_plugins = 3\n", "disabled_plugins is not used"},
	{"type of a section", "version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = 3\n", "plugins"},
	{"type in a section", img(`stats_collect_period = "often"`), "stats_collect_period"},
	{"type in a section of an old version", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = 3\n", "bin_dir"},
	{"busy loop", img("stats_collect_period = 0"), "stats_collect_period = 0 is not used"},
	{"duration", cri(`drain_exec_sync_io_timeout = "-1s"`), "drain_exec_sync_io_timeout"},
	{"division by zero", cri(`stats_collect_period = "0s"`), `stats_collect_period = "0s" is not used`},
	{"timeout", v4 + "[timeouts]\nx = \"soon\"\n", `timeouts.x = "soon" is not used`},
	{"debug level", v4 + "[debug]\nlevel = \"loud\"\n", `debug.level = "loud" is not used`},
	{"debug format", v4 + "[debug]\nformat = \"xml\"\n", "debug.format"},
	{"cgroup", v4 + "[cgroup]\npath = \"/system.slice\"\n", "cgroup.path"},
	{"temp", v4 + "temp = \"/mnt/tmp\"\n", "temp"},
	{"root and state", v4 + "root = \"/mnt/a\"\nstate = \"/mnt/a\"\n", "state"},
	{"bare name", v4 + "disabled_plugins = [\"cri\"]\n", "disabled_plugins"},
	{"plugin that pods need", v4 + "disabled_plugins = [\"io.containerd.snapshotter.v1.overlayfs\"]\n", "overlayfs"},
	{"plugin that is not built in", v4 + "required_plugins = [\"io.containerd.snapshotter.v1.zfs\"]\n", "zfs"},
	{"proxy without type", v4 + "[proxy_plugins.x]\naddress = \"/run/x.sock\"\n", "proxy_plugins.x"},
	{"proxy of a name that is taken", v4 + "[proxy_plugins.overlayfs]\ntype = \"snapshot\"\naddress = \"/run/x.sock\"\n", "proxy_plugins.overlayfs"},
	{"other content store", v4 + "[proxy_plugins.x]\ntype = \"content\"\naddress = \"/run/x.sock\"\n", "proxy_plugins.x"},
	{"differ", v4 + "[plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"erofs\"]\n", "erofs"},
	{"unpacking", v4 + "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"linux\"\nsnapshotter = \"zfs\"\n", "zfs"},
	{"PATH of shims", v4 + "[plugins.\"io.containerd.shim.v1.manager\"]\nenv = [\"PATH=/usr/bin\"]\n", "PATH=/usr/bin"},
	{"import directories", v4 + "[plugins.\"io.containerd.internal.v1.kios-import\"]\ndirectories = [\"/mnt\"]\n", "directories"},
	{"import's sandbox", v4 + "[plugins.\"io.containerd.internal.v1.kios-import\"]\nsandbox_image = \"x\"\n", "sandbox_image = \"x\" is not used"},
	{"seccomp", cri(`unset_seccomp_profile = "default"`), "unset_seccomp_profile"},
	{"snapshotter of a runtime", runc(`snapshotter = "devmapper"`), `snapshotter = "devmapper"`},
	{"sandboxer", runc(`sandboxer = "shim"`), "sandboxer"},
	{"streams", runc(`io_type = "streaming"`), "io_type"},
	{"streams of a kind that is not", runc(`io_type = "pigeon"`), "io_type"},
	{"old runtime", runc(`runtime_type = "io.containerd.runtime.v1.linux"`), "runtime_type"},
	{"path of the shim", runc(`runtime_path = "/usr/bin/containerd-shim-runc-v2"`), "runtime_path"},
	{"base spec", runc(`base_runtime_spec = "/etc/containerd/none.json"`), "base_runtime_spec"},
	{"devices", runc("privileged_without_host_devices_all_devices_allowed = true"), "privileged_without_host_devices"},
	{"shim's cgroup", runc("options.ShimCgroup = \"/system.slice\""), "ShimCgroup"},
	{"runc's root", runc("options.Root = \"/run/runc\""), "Root"},
	{"default runtime without a table", cri(`containerd.default_runtime_name = "kata"`), "default_runtime_name"},
	{"CNI's directory", cri(`cni.conf_dir = "/usr/cni"`), "conf_dir"},
	{"open stream server", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nstream_server_address = \"0.0.0.0\"\n", "stream_server_address"},
	{"stream port", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nstream_server_port = \"http\"\n", "stream_server_port"},
	{"certificate", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nx509_key_pair_streaming.tls_cert_file = \"/etc/none\"\n", "tls_cert_file"},
	{"socket", "version = 2\n[grpc]\naddress = \"/run/x.sock\"\n", `address = "/run/x.sock" is not used`},
	{"socket of shims", v4 + "[plugins.\"io.containerd.server.v1.ttrpc\"]\naddress = \"/run/x.sock\"\n", "address"},
	{"TCP", "version = 2\n[grpc]\ntcp_address = \"0.0.0.0:1\"\n", "grpc-tcp"},
	{"debug socket", "version = 2\n[debug]\naddress = \"/run/x.sock\"\n", "server.v1.debug"},
	{"verifiers", v4 + "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nbin_dir = \"/usr/bin\"\n", "bin_dir"},
	{"NRI's socket", v4 + "[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/usr/nri.sock\"\n", "socket_path"},
	{"place of snapshots", v4 + "[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\nroot_path = \"/mnt/x\"\n", "root_path"},
	{"snapshotter", img(`snapshotter = "native"`), `snapshotter = "native" is not used`},
	{"snapshotter of a platform", img(`runtime_platforms.x.snapshotter = "native"`), "runtime_platforms.x.snapshotter"},
	{"progress", img(`image_pull_progress_timeout = "soon"`), "image_pull_progress_timeout"},
	{"retention", cri(`stats_retention_period = "0s"`), "stats_retention_period"},
	{"loopback", cri("cni.use_internal_loopback = false"), "use_internal_loopback"},
	{"CNI's directory of a runtime", runc(`cni_conf_dir = "/usr/cni"`), "cni_conf_dir"},
	{"idle streams", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nstream_idle_timeout = \"soon\"\n", "stream_idle_timeout"},
	{"key", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nx509_key_pair_streaming.tls_key_file = \"/etc/none\"\n", "tls_key_file"},
	{"messages sent", v4 + "[plugins.\"io.containerd.server.v1.grpc\"]\nmax_send_message_size = 1\n", "max_send_message_size = 1"},
	{"import's snapshotter", v4 + "[plugins.\"io.containerd.internal.v1.kios-import\"]\nsnapshotter = \"native\"\n", "kios-import"},
	{"sharing of content", v4 + "[plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"some\"\n", "content_sharing_policy = \"some\" is not used"},
	{"platform", img(`runtime_platforms.x.platform = "a/b/c/d"`), "runtime_platforms.x.platform"},
	{"platform of unpacking", v4 + "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"a/b/c/d\"\nsnapshotter = \"overlayfs\"\n", "platform"},
	{"registry that is no URL", img("[plugins.\"" + criImages + "\".registry.auths.\"http://a b\"]\nusername = \"u\""), "registry.auths"},
	{"place of NRI's plugins", v4 + "[plugins.\"io.containerd.nri.v1.nri\"]\nplugin_path = \"/etc/containerd/config.toml\"\n", "plugin_path"},
	{"place of NRI's settings", v4 + "[plugins.\"io.containerd.nri.v1.nri\"]\nplugin_config_path = \"/etc/containerd/config.toml\"\n", "plugin_config_path"},
	{"NRI's socket below a file", v4 + "[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/etc/containerd/config.toml/s\"\n", "socket_path"},
	{"CNI's directory below a file", cri(`cni.conf_dir = "/etc/containerd/config.toml/net.d"`), "conf_dir"},
	{"CNI's directory of a runtime below a file", runc(`cni_conf_dir = "/etc/containerd/config.toml"`), "cni_conf_dir"},
	{"temp below a file", v4 + "temp = \"/etc/containerd/config.toml/x\"\n", "temp"},
	{"relative place of shims' sockets", v4 + "[plugins.\"io.containerd.shim.v1.manager\"]\nsocket_dir = \"s\"\n", "socket_dir"},
	{"long place of shims' sockets", v4 + "[plugins.\"io.containerd.shim.v1.manager\"]\nsocket_dir = \"/run/" + strings.Repeat("s", 100) + "\"\n", "socket_dir"},
	{"certificate that is not switched on", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nx509_key_pair_streaming.tls_cert_file = \"/etc/containerd/config.toml\"\n", "enable_tls_streaming is not set"},
	{"certificate without a key", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_tls_streaming = true\nx509_key_pair_streaming.tls_cert_file = \"/etc/containerd/config.toml\"\n", "a certificate needs its key"},
	{"certificate that is none", v4 + "[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_tls_streaming = true\nx509_key_pair_streaming.tls_cert_file = \"/etc/containerd/config.toml\"\nx509_key_pair_streaming.tls_key_file = \"/etc/containerd/config.toml\"\n", "x509_key_pair_streaming"},
	{"messages", v4 + "[plugins.\"io.containerd.server.v1.grpc\"]\nmax_recv_message_size = 1\n", "max_recv_message_size = 1"},
}

// Each costs itself only, and is named: a value beside it stays.
func TestABadValueCostsItself(t *testing.T) {
	for _, tt := range badValues {
		t.Run(tt.name, func(t *testing.T) {
			other := "version = 4\n[plugins.\"" + criRuntime + "\"]\nmax_container_log_line_size = 77\n"
			etc := etcWith(t, userconfig.Main, "imports = [\"other.toml\"]\n"+tt.content, "containerd/other.toml", other)
			c, lines := check(t, etc)
			if c == nil {
				t.Fatalf("nothing is used: %q", lines)
			}
			checkUsable(t, c)
			if got := at(c, criRuntime, "max_container_log_line_size"); got != "77" {
				t.Errorf("a value beside the bad one is %s, want it to stay", got)
			}
			if len(lines) == 0 || !strings.HasPrefix(lines[0], "/etc/containerd/config.toml: ") || !strings.Contains(strings.Join(lines, "\n"), tt.line) {
				t.Errorf("lines = %q, want one about %s", lines, tt.line)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	tests := []struct{ name, content, line string }{
		{"no TOML", "version = \n", "ignoring /etc/containerd/config.toml: row 1"},
		{"version from the future", "version = 99\n", "ignoring /etc/containerd/config.toml: "},
		{"version below all", "version = -1\n", "ignoring /etc/containerd/config.toml: there is no version -1: write the one that the file is in, from 1 to 4: using defaults"},
		{"too large", "# " + strings.Repeat("x", 1<<20), "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, lines := check(t, etcWith(t, userconfig.Main, tt.content))
			if c != nil || len(lines) != 1 || !strings.Contains(lines[0], tt.line) {
				t.Errorf("lines = %q, want one with %q, and nothing to be used", lines, tt.line)
			}
		})
	}
}

// What is imported from /etc is looked for where the files are; one bad file costs itself.
func TestImports(t *testing.T) {
	etc := etcWith(t,
		userconfig.Main, v4+"imports = [\"/etc/containerd/conf.d/*.toml\", \"missing.toml\"]\n",
		"containerd/conf.d/a.toml", "{\n",
		"containerd/conf.d/b.toml", cri("max_container_log_line_size = 7"))
	c, lines := check(t, etc)
	if c == nil || at(c, criRuntime, "max_container_log_line_size") != "7" {
		t.Errorf("the good import is not used")
	}
	got := strings.Join(lines, "\n")
	if len(lines) != 2 || !strings.Contains(got, "ignoring /etc/containerd/conf.d/a.toml") || !strings.Contains(got, "ignoring /etc/containerd/missing.toml") {
		t.Errorf("lines = %q, want the bad file and the missing one named", lines)
	}
}

func TestBaseSpecOfTheUser(t *testing.T) {
	c, lines := check(t, etcWith(t, userconfig.Main, runc(`base_runtime_spec = "/etc/containerd/spec.json"`), "containerd/spec.json", "{}"))
	if got := at(c, criRuntime, "containerd", "runtimes", "runc", "base_runtime_spec"); len(lines) > 0 || got != "/etc/containerd/spec.json" {
		t.Errorf("base_runtime_spec = %s, lines %q", got, lines)
	}
	// In a trial, containerd reads the copy that is tried.
	etc := etcWith(t, userconfig.Main, runc(`base_runtime_spec = "/etc/containerd/spec.json"`), "containerd/spec.json", "{}")
	r, err := userconfig.Source{Node: nodeConfig, Etc: etc}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := at(decodes(t, r.Config), criRuntime, "containerd", "runtimes", "runc", "base_runtime_spec"); got != etc+"/containerd/spec.json" {
		t.Errorf("base_runtime_spec in a trial = %s", got)
	}
}

// Pods that name no RuntimeClass run with the default: a program that is there and does
// not run starts none of them.
func TestDefaultRuntimeThatCannotRun(t *testing.T) {
	script := filepath.Join(t.TempDir(), "shim")
	if err := os.WriteFile(script, []byte("#!/none/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := cri(`containerd.default_runtime_name = "kata"`+"\n"+`containerd.runtimes.kata.runtime_type = "io.containerd.kata.v2"`+"\n") +
		"containerd.runtimes.kata.runtime_path = \"" + script + "\"\n"
	r, err := userconfig.Source{Node: nodeConfig, Etc: etcWith(t, userconfig.Main, content)}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := at(decodes(t, r.Config), criRuntime, "containerd", "default_runtime_name")
	if got != "runc" || !strings.Contains(strings.Join(r.Lines, "\n"), script+" cannot be executed: it needs /none/sh") {
		t.Errorf("default_runtime_name = %s, lines %q", got, r.Lines)
	}
}

func TestNRIThatIsAskedForIsNoNews(t *testing.T) {
	c, lines := check(t, etcWith(t, userconfig.Main, v4+"[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n"))
	if got := at(c, "io.containerd.nri.v1.nri", "disable"); got != "false" || len(lines) > 0 {
		t.Errorf("disable = %s, lines %q", got, lines)
	}
}

func TestDirectoryOfCNIThatIsNotThere(t *testing.T) {
	for dir, says := range map[string]bool{"/etc/other/net.d": true, "/etc/containerd": false, "/etc/cni/net.d": false} {
		c, lines := check(t, etcWith(t, userconfig.Main, cri(`cni.conf_dir = "`+dir+`"`)))
		if got := at(c, criRuntime, "cni", "conf_dir"); got != dir || (len(lines) > 0) != says {
			t.Errorf("conf_dir = %s, want %s; lines %q", got, dir, lines)
		}
	}
}

func TestSnapshotterOfAProxy(t *testing.T) {
	content := runc(`snapshotter = "remote"`) + "[proxy_plugins.remote]\ntype = \"snapshot\"\naddress = \"/run/remote.sock\"\n"
	c, lines := check(t, etcWith(t, userconfig.Main, content))
	if got := at(c, criRuntime, "containerd", "runtimes", "runc", "snapshotter"); len(lines) > 0 || got != "remote" {
		t.Errorf("snapshotter = %s, lines %q", got, lines)
	}
	// The pause image has to be there for its pods.
	if got := at(c, "io.containerd.internal.v1.kios-import", "portable_sandbox"); got != "true" {
		t.Errorf("portable_sandbox = %s", got)
	}
	if c, _ := check(t, etcWith(t, userconfig.Main, runc(`snapshotter = "overlayfs"`))); at(c, "io.containerd.internal.v1.kios-import", "portable_sandbox") != "<nil>" {
		t.Error("the sandbox's image is made portable, and nothing needs that")
	}
}

func TestChooseConfig(t *testing.T) {
	args := []string{"/bin/containerd", "--config", nodeConfig}
	tests := []struct {
		name string
		etc  string
		args []string
		uses bool
	}{
		{"good", etcWith(t, userconfig.Main, v4), args, true},
		{"none", t.TempDir(), args, false},
		{"bad syntax", etcWith(t, userconfig.Main, "version = \n"), args, false},
		{"subcommand", etcWith(t, userconfig.Main, v4), []string{"/bin/containerd", "config", "dump"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			layered := filepath.Join(t.TempDir(), "layered.toml")
			got, uses := chooseConfig(t.Context(), tt.args, tt.etc, layered)
			want := tt.args
			if tt.uses {
				want = []string{"/bin/containerd", "--config", layered}
			}
			if diff := cmp.Diff(want, got); diff != "" || uses != tt.uses {
				t.Errorf("chooseConfig uses it: %v, want %v; args (-want +got):\n%s", uses, tt.uses, diff)
			}
		})
	}
}

func TestEtcDirectory(t *testing.T) {
	t.Setenv(etcVariable, "/run/kios/config/x")
	if got := etcDirectory(); got != "/run/kios/config/x" {
		t.Errorf("etcDirectory = %s", got)
	}
	if got := etcDirectory(); got != "/etc" {
		t.Errorf("etcDirectory = %s after the variable was removed, want /etc", got)
	}
}

// nodeIn returns the node's configuration with all directories below dir.
func nodeIn(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(nodeConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/var/lib/containerd", "/run/containerd", "/etc/cni/net.d", "/usr/share/kios/images", "/run/kios/images"} {
		text = bytes.ReplaceAll(text, []byte(`"`+path), []byte(`"`+filepath.Join(dir, path)))
	}
	path := filepath.Join(dir, "node.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// containerd is one that runs, with its log.
type containerd struct {
	log   *os.File
	ended chan error
	*exec.Cmd
	notify *net.UnixConn
}

func startContainerd(t *testing.T, etc string, env ...string) (c *containerd, socket string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containerd needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "ctd") // sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	c = &containerd{log: log, Cmd: exec.Command(os.Args[0]), ended: make(chan error, 1), notify: notify}
	c.Stdout, c.Stderr = log, log
	args := []string{"containerd", "--config", nodeIn(t, dir), etc, filepath.Join(dir, "layered.toml")}
	c.Env = append(append(os.Environ(), env...), startEnv+"="+strings.Join(args, " "), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.Wait() }()
	t.Cleanup(func() { c.Process.Kill(); notify.Close(); log.Close() })
	return c, filepath.Join(dir, "run/containerd/containerd.sock")
}

// expect waits for a datagram of containerd to init.
func (c *containerd) expect(t *testing.T, want string) {
	t.Helper()
	c.notify.SetReadDeadline(time.Now().Add(time.Minute))
	buffer := make([]byte, 4096)
	for {
		n, err := c.notify.Read(buffer)
		if err != nil {
			text, _ := os.ReadFile(c.log.Name())
			t.Fatalf("no %s: %v; containerd's log:\n%s", want, err, text)
		}
		if slices.Contains(strings.Split(string(buffer[:n]), "\n"), want) {
			return
		}
	}
}

// containerd itself starts with each file, and CRI answers.
func TestContainerdStartsWithForeignFiles(t *testing.T) {
	for _, tt := range foreign {
		t.Run(tt.name, func(t *testing.T) {
			content := strings.ReplaceAll(foreignFile(t, tt.name), "/var/run/nri", t.TempDir())
			c, socket := startContainerd(t, etcWith(t, userconfig.Main, content))
			c.expect(t, "READY=1")
			conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answer, err := runtime.NewRuntimeServiceClient(conn).Status(t.Context(), &runtime.StatusRequest{Verbose: true})
			if err != nil {
				t.Fatal(err)
			}
			var config struct {
				Containerd struct{ DefaultRuntimeName string }
			}
			if err := json.Unmarshal([]byte(answer.GetInfo()["config"]), &config); err != nil || config.Containerd.DefaultRuntimeName != "runc" {
				t.Errorf("default runtime %q, %v", config.Containerd.DefaultRuntimeName, err)
			}
		})
	}
}

// CRI starts with what is left of each, and not without all of the user's files.
func TestContainerdStartsWithBadValues(t *testing.T) {
	for _, tt := range badValues {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := startContainerd(t, etcWith(t, userconfig.Main, tt.content))
			c.expect(t, "READY=1")
			if text, err := os.ReadFile(c.log.Name()); err != nil || bytes.Contains(text, []byte("kios: ignoring ")) {
				t.Errorf("all of the user's file is given up: %v\n%s", err, text)
			}
			c.Process.Kill()
			<-c.ended
		})
	}
}

// Init's watchdog hears of a containerd whose CRI answers, and ends one that is silent: its
// goroutines are in the log then, as Go's runtime has it, and containers go on.
func TestWatchdog(t *testing.T) {
	c, _ := startContainerd(t, t.TempDir(), "WATCHDOG_USEC=200000")
	c.expect(t, "READY=1")
	for range 3 {
		c.expect(t, "WATCHDOG=1")
	}
	if err := c.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-c.ended
	text, err := os.ReadFile(c.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SIGABRT", "containerd.startWith", "server.(*watchdog).run", "google.golang.org/grpc.(*Server).Serve"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the log after SIGABRT has no %s", want)
		}
	}
}

// One that starts again without the user's files, since CRI does not work with them, is
// watched, too.
func TestWatchdogWithoutTheUsersFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	c, _ := startContainerd(t, etcWith(t, userconfig.Main, cri(`cni.conf_dir = "`+dir+`/net.d"`)), "WATCHDOG_USEC=200000")
	c.expect(t, "READY=1")
	for range 3 {
		c.expect(t, "WATCHDOG=1")
	}
	if text, err := os.ReadFile(c.log.Name()); err != nil || !bytes.Contains(text, []byte("kios: ignoring /etc/containerd/config.toml: ")) {
		t.Errorf("the user's files were not rejected: %v", err)
	}
}

// The text of the checker is what the node says.
func TestCheckConfig(t *testing.T) {
	root := t.TempDir()
	copyTo(t, os.Args[0], filepath.Join(root, "bin/containerd"))
	copyTo(t, nodeConfig, filepath.Join(root, "usr/share/kios/containerd.toml"))
	etc := etcWith(t, userconfig.Main, testdata(t, "docker.toml"))
	cmd := exec.Command(filepath.Join(root, "bin/containerd"), "kios-check-config", etc)
	cmd.Env = append(os.Environ(), toolEnv+"=1")
	out, err := cmd.Output()
	want := "/etc/containerd/config.toml: disabled_plugins = \"io.containerd.grpc.v1.cri\" is not used: pods do not start without it\n"
	if err != nil || string(out) != want {
		t.Errorf("kios-check-config = %q, %v, want %q", out, err, want)
	}
	cmd = exec.Command(filepath.Join(root, "bin/containerd"), "kios-check-config", filepath.Join(etc, "none"))
	cmd.Env = append(os.Environ(), toolEnv+"=1")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("kios-check-config of a directory that is not there = %q, want an error", out)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
