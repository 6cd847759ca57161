package main

import (
	"fmt"
	"strings"
	"testing"

	"kios/upstream/containerd/userconfig"
)

// unknownKeys are keys that have no effect, and the line about each, after the name of the file.
var unknownKeys = []struct{ name, text, line string }{
	{"retired key in a new version", cri("enable_cdi = false"), "enable_cdi = false is not used: CDI is always on"},
	{"key of containerd", v4 + "oom_scores = -1\n", "oom_scores = -1 is not used: containerd has no such key"},
	{"table of containerd", v4 + "[cgroups]\npath = \"/x\"\n[cgroups.more]\na = 1\n", "cgroups is not used: containerd has no such key"},
	{"key in an old version", "[plugins.cri]\nmax_container_log_line = 7\n", "max_container_log_line = 7 is not used: containerd has no such key"},
	{"key of CRI", cri(`max_container_log_line = 7`), "max_container_log_line = 7 is not used: containerd has no such key"},
	{"key of a runtime", runc(`runtime_typ = "x"`), `containerd.runtimes.runc.runtime_typ is not used: containerd has no such key`},
	{"password", v4 + "[plugins.\"" + criImages + "\".registry.configs.x.auth]\npasword = \"secret\"\n", "registry.configs.x.auth.pasword is not used: containerd has no such key"},
	{"option of runc", runc("options.SystemdCgroups = true"), "containerd.runtimes.runc.options.SystemdCgroups = true is not used: runc's shim has no such option"},
	{"key in a list", v4 + "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"linux\"\nsnapshotter = \"overlayfs\"\ndiffer = \"walking\"\nx = 1\n",
		"[plugins.\"io.containerd.transfer.v1.local\"] unpack_config.x is not used: containerd has no such key"},
	{"plugin", v4 + "[plugins.\"io.containerd.cri.v1.image\"]\nmax_concurrent_downloads = 7\n", "[plugins.\"io.containerd.cri.v1.image\"] is not used: this containerd has no such plugin"},
	{"section of before version 4", v4 + "[grpc]\nmax_recv_message_size = 16777216\n",
		"grpc.max_recv_message_size = 16777216 is not used: since version 4 of the format it is in [plugins.\"io.containerd.server.v1.grpc\"]"},
	{"debug socket of before version 4", v4 + "[debug]\naddress = \"/run/d.sock\"\n", "debug.address = \"/run/d.sock\" is not used: this containerd has no debug server"},
}

// Each is named, in a line of its own, and costs nothing else.
func TestUnknownKeys(t *testing.T) {
	for _, tt := range unknownKeys {
		t.Run(tt.name, func(t *testing.T) { checkLine(t, tt.text, tt.line) })
	}
}

// What says nothing costs no line: keys without a value, CDI, which is always on, and what
// a whole default configuration has of plugins that a node does without.
func TestUnknownKeysThatSayNothing(t *testing.T) {
	for _, text := range []string{
		v4 + "plugin_dir = \"\"\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\npool_name = \"\"\nasync_remove = false\n",
		cri("enable_cdi = true\nx = {}\ny = {z = []}"),
		"version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_cdi = true\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"/opt/containerd\"\n",
	} {
		if _, lines := check(t, etcWith(t, userconfig.Main, text)); len(lines) > 0 {
			t.Errorf("lines = %q of\n%s", lines, text)
		}
	}
}

func TestManyUnknownKeys(t *testing.T) {
	_, lines := check(t, etcWith(t, userconfig.Main, v4+many("a%d = 1\n", 100)))
	if last := fmt.Sprint(lines[len(lines)-1:]); len(lines) != 17 || !strings.Contains(last, "84 more keys, in this file or in those that it imports, are not used") {
		t.Errorf("%d lines, the last is %s", len(lines), last)
	}
}
