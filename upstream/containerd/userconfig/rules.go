package userconfig

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Sections, by the names that the current version of the format has for them.
const (
	criImages  = "io.containerd.cri.v1.images"
	criRuntime = "io.containerd.cri.v1.runtime"
	criServer  = "io.containerd.grpc.v1.cri"
	grpcServer = "io.containerd.server.v1.grpc"
	importer   = "io.containerd.internal.v1.kios-import"
	verifier   = "io.containerd.image-verifier.v1.bindir"
	shims      = "io.containerd.shim.v1.manager"
	differs    = "io.containerd.service.v1.diff-service"
	transfer   = "io.containerd.transfer.v1.local"
	nri        = "io.containerd.nri.v1.nri"
	bolt       = "io.containerd.metadata.v1.bolt"
	overlayfs  = "io.containerd.snapshotter.v1.overlayfs"
)

// A rule says what a value has to be for pods to start on this node. A value of the user
// for which ok is false is set back to the node's own.
type rule struct {
	path   []string
	ok     func(c *checker, value any, path []string) bool
	reason string
}

func in(plugin string, path ...string) []string {
	return append([]string{"plugins", plugin}, path...)
}

func runtimes(path ...string) []string {
	return append(in(criRuntime, "containerd", "runtimes", "*"), path...)
}

// rules are in the order in which they are applied. Values that only make a setting
// useless, and keep no pod from starting, are the user's.
var rules = []rule{
	// containerd itself: where it is, and what init relies on.
	{[]string{"root"}, asNode, "containerd keeps its data where the data partition is mounted"},
	{[]string{"state"}, asNode, "init finds the containers that run in the node's own directory"},
	{[]string{"temp"}, writable, "the root is read-only: use a directory below /run, /tmp or /var"},
	{[]string{"temp"}, directory, "it is not a directory"},
	{[]string{"cgroup", "path"}, never, "init has put containerd into a cgroup, with memory that stays free for it"},
	{[]string{"debug", "level"}, logLevel, "levels are trace, debug, info, warn, error, fatal and panic"},
	{[]string{"debug", "format"}, oneOf("", "text", "json"), "formats are text and json"},
	{[]string{"timeouts", "*"}, duration(0), `a time is written as "10s"`},
	{[]string{"grpc", "*"}, never, `since version 4 of the format it is in [plugins."io.containerd.server.v1.grpc"]`},
	{[]string{"ttrpc", "*"}, never, `since version 4 of the format it is in [plugins."io.containerd.server.v1.ttrpc"]`},
	{[]string{"debug", "address"}, never, "this containerd has no debug server"},
	{[]string{"metrics", "*"}, never, "this containerd has no metrics server"},
	{[]string{"proxy_plugins", "*"}, proxy, "its type has to be snapshot, diff or sandbox, and its name one that is not taken"},
	{in(grpcServer, "address"), asNode, "init has made the socket, and the kubelet is there"},
	{in(grpcServer, "max_recv_message_size"), noneOr(atLeast(4 << 20)), "the kubelet's messages are larger"},
	{in(grpcServer, "max_send_message_size"), noneOr(atLeast(4 << 20)), "the kubelet's messages are larger"},
	{in("io.containerd.server.v1.ttrpc", "address"), asNode, "shims report there"},
	{in("io.containerd.server.v1.grpc-tcp", "address"), never, "this containerd has no TCP server"},
	{in("io.containerd.server.v1.debug", "address"), never, "this containerd has no debug server"},
	{in("io.containerd.server.v1.metrics", "address"), never, "this containerd has no metrics server"},
	{in(importer, "directories"), asNode, "the images of the OS would not be found"},
	{in(importer, "snapshotter"), asNode, "the images of the OS are in overlayfs"},
	{in(importer, "sandbox_image"), asNode, "each pod needs it, and the network is not there before the first pod"},
	{in(verifier, "bin_dir"), asNode, "no other directory can hold verifiers"},
	{in(nri, "socket_path"), writable, "the root is read-only there"},
	{in(nri, "socket_path"), parent, "it is below a file"},
	{in(nri, "plugin_path"), nriPlugins, "it has to be a directory, and the programs in it have names such as 10-name"},
	{in(nri, "plugin_config_path"), directory, "it is not a directory"},
	{in(shims, "socket_dir"), socketDir, "it has to be a short path below /run, /tmp or /var"},
	{in(bolt, "content_sharing_policy"), oneOf("", "shared", "isolated"), "policies are shared and isolated"},
	{in(overlayfs, "root_path"), never, "containerd keeps its data where the data partition is mounted"},

	// Images.
	{in(criImages, "snapshotter"), asNode, "the images of the OS are in overlayfs: name another snapshotter for a runtime, and use that by a RuntimeClass"},
	{in(criImages, "pinned_images", "sandbox"), asNode, "each pod needs it, and the network is not there before the first pod"},
	{in(criImages, "image_pull_progress_timeout"), duration(0), `a time is written as "5m"`},
	{in(criImages, "stats_collect_period"), atLeast(1), "it is a number of seconds"},
	{in(criImages, "runtime_platforms", "*", "snapshotter"), snapshotter, "this containerd has no such snapshotter: name it in proxy_plugins"},
	{in(criImages, "runtime_platforms", "*", "platform"), platform, `a platform is written as "linux/amd64"`},
	{in(criImages, "registry", "auths", "*"), urlKey, "its name is no URL"},

	// How containers run.
	{in(criRuntime, "unset_seccomp_profile"), seccomp, `it has to be "", "unconfined", "runtime/default" or "localhost/FILE"`},
	{in(criRuntime, "drain_exec_sync_io_timeout"), duration(0), `a time is written as "10s"`},
	{in(criRuntime, "stats_collect_period"), duration(1), `a time is written as "10s"`},
	{in(criRuntime, "stats_retention_period"), duration(1), `a time is written as "10s"`},
	{in(criRuntime, "cni", "conf_dir"), writable, "the root is read-only there"},
	{in(criRuntime, "cni", "conf_dir"), directory, "it is not a directory"},
	{in(criRuntime, "cni", "use_internal_loopback"), asNode, "the plugin loopback is not on the node, and containerd needs no plugin for that"},
	{runtimes("cni_conf_dir"), writable, "the root is read-only there"},
	{runtimes("cni_conf_dir"), directory, "it is not a directory"},
	{runtimes("options", "SystemdCgroup"), isFalse, "there is no systemd on the node"},
	{runtimes("options", "ShimCgroup"), never, "init has put shims into a cgroup"},
	{runtimes("snapshotter"), snapshotter, "this containerd has no such snapshotter: name it in proxy_plugins"},
	{runtimes("sandboxer"), sandboxer, "runc's shim makes no sandboxes"},
	{runtimes("io_type"), ioType, "runc's shim has no streams"},
	{runtimes("options", "Root"), never, "init finds the containers that run in the node's own directory"},

	// The kubelet's exec, attach and port-forward.
	{in(criServer, "stream_server_address"), oneOf("127.0.0.1", "::1", "localhost"), "only the kubelet of this node connects there"},
	{in(criServer, "stream_server_port"), port, "it is not a port"},
	{in(criServer, "stream_idle_timeout"), duration(0), `a time is written as "4h"`},
	{in(criServer, "x509_key_pair_streaming", "tls_cert_file"), file, "there is no such file"},
	{in(criServer, "x509_key_pair_streaming", "tls_key_file"), file, "there is no such file"},
}

func (c *checker) applyRules() {
	for _, r := range rules {
		for _, path := range expand(c.merged, r.path) {
			value, _ := lookup(c.merged, path...)
			if asNode(c, value, path) || r.ok(c, value, path) {
				continue
			}
			if !isEmpty(value) {
				c.say(path, value, r.reason)
			}
			c.setBack(path)
		}
	}
	c.checkStreams()
	c.checkLists()
	c.checkRegistry()
	c.checkSnapshotters()
	c.tellNRI()
	c.tellCNI()
	c.checkRuntimes()
}

// setBack gives a key the node's own value, or none.
func (c *checker) setBack(path []string) {
	if v, ok := lookup(c.node, path...); ok {
		put(c.merged, v, path...)
	} else {
		remove(c.merged, path...)
	}
}

// asNode accepts the node's own value, and none. Keys outside of plugins' sections that
// are not set are zero.
func asNode(c *checker, value any, path []string) bool {
	own, ok := lookup(c.node, path...)
	return same(value, own) || !ok && (value == "" || path[0] != "plugins" && isZero(value))
}

// isEmpty reports whether a value says nothing: programs that write all keys have it where
// they mean the default.
func isEmpty(value any) bool {
	list, isList := value.([]any)
	return value == "" || isList && len(list) == 0
}

func never(*checker, any, []string) bool { return false }

func isFalse(_ *checker, value any, _ []string) bool { return value == false }

func oneOf(values ...any) func(*checker, any, []string) bool {
	return func(_ *checker, value any, _ []string) bool { return slices.Contains(values, value) }
}

// writable accepts directories that can be made on a node.
func writable(_ *checker, value any, _ []string) bool {
	dir, ok := value.(string)
	return ok && (dir == "" || slices.ContainsFunc([]string{"/etc", "/opt/cni", "/run", "/tmp", "/var"}, func(top string) bool {
		return within(filepath.Clean(dir), top)
	}))
}

func logLevel(_ *checker, value any, _ []string) bool {
	text, ok := value.(string)
	_, err := logrus.ParseLevel(text)
	return ok && (text == "" || err == nil)
}

// duration accepts times of at least lowest, and none.
func duration(lowest time.Duration) func(*checker, any, []string) bool {
	return func(_ *checker, value any, path []string) bool {
		text, ok := value.(string)
		d, err := time.ParseDuration(text)
		return ok && (text == "" && path[0] == "plugins" || err == nil && d >= lowest)
	}
}

func atLeast(lowest int64) func(*checker, any, []string) bool {
	return func(_ *checker, value any, _ []string) bool {
		n, ok := value.(int64)
		return ok && n >= lowest
	}
}

// noneOr accepts zero, too, where that is containerd's default.
func noneOr(ok func(*checker, any, []string) bool) func(*checker, any, []string) bool {
	return func(c *checker, value any, path []string) bool { return value == int64(0) || ok(c, value, path) }
}

func port(_ *checker, value any, _ []string) bool {
	text, ok := value.(string)
	return ok && len(text) <= 5 && strings.Trim(text, "0123456789") == "" && text <= "65535"
}

func file(c *checker, value any, _ []string) bool {
	path, ok := value.(string)
	return ok && (path == "" || c.exists(c.place(path)))
}

func seccomp(_ *checker, value any, _ []string) bool {
	text, ok := value.(string)
	return ok && (slices.Contains([]string{"", "unconfined", "runtime/default", "docker/default"}, text) || strings.HasPrefix(text, "localhost/"))
}

// proxy accepts what containerd can register: it panics at the rest.
func proxy(c *checker, value any, path []string) bool {
	types := map[string]string{
		"snapshot": "io.containerd.snapshotter.v1", "io.containerd.snapshotter.v1": "io.containerd.snapshotter.v1",
		"diff": "io.containerd.differ.v1", "io.containerd.differ.v1": "io.containerd.differ.v1",
		"sandbox": "io.containerd.sandbox.controller.v1", "io.containerd.sandbox.controller.v1": "io.containerd.sandbox.controller.v1",
	}
	p, _ := value.(tree)
	kind, _ := p["type"].(string)
	address, _ := p["address"].(string)
	t := types[kind]
	return t != "" && address != "" && !c.registered(t+"."+path[len(path)-1])
}

// registered reports whether this containerd has a plugin.
func (c *checker) registered(uri string) bool {
	for i := range c.plugins {
		if c.plugins[i].URI() == uri {
			return true
		}
	}
	return false
}

// snapshotter accepts one that is built in, or that a proxy plugin brings.
func snapshotter(c *checker, value any, _ []string) bool {
	name, ok := value.(string)
	return ok && (name == "" || c.has("io.containerd.snapshotter.v1", "snapshot", name))
}

// has reports whether there is a plugin, of one of the types that proxies can have.
func (c *checker) has(pluginType, short, name string) bool {
	kind, _ := lookup(c.merged, "proxy_plugins", name, "type")
	return kind == pluginType || kind == short || c.registered(pluginType+"."+name)
}

// isRunc reports whether path leads to a runtime of runc's shim.
func (c *checker) isRunc(path []string) bool {
	kind, _ := lookup(c.merged, append(slices.Clone(path[:5]), "runtime_type")...)
	return kind == runcType
}

func sandboxer(c *checker, value any, path []string) bool {
	return value == "" || value == "podsandbox" || !c.isRunc(path)
}

func ioType(c *checker, value any, path []string) bool {
	return value == "" || value == "fifo" || value == "streaming" && !c.isRunc(path)
}
