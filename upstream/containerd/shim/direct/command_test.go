package direct

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const global = "/bin/runc --root /run/runc/k8s.io --log /b/log.json --log-format json "
	common := func(c command) command {
		c.root, c.log = "/run/runc/k8s.io", "/b/log.json"
		return c
	}
	tests := []struct {
		line string
		want command
	}{
		{global + "create --bundle /b --pid-file /b/init.pid one", common(command{verb: "create", id: "one", bundle: "/b", pidFile: "/b/init.pid"})},
		{global + "start one", common(command{verb: "start", id: "one"})},
		{global + "--systemd-cgroup start one", common(command{verb: "start", id: "one"})},
		{global + "kill one 9", common(command{verb: "kill", id: "one", signal: 9})},
		{global + "kill --all one 15", common(command{verb: "kill", id: "one", signal: 15, all: true})},
		{global + "delete one", common(command{verb: "delete", id: "one"})},
		{global + "delete --force one", common(command{verb: "delete", id: "one"})},
		{global + "ps --format json one", common(command{verb: "ps", id: "one"})},
	}
	for _, tt := range tests {
		got, ok := parse(strings.Fields(tt.line))
		if !ok {
			t.Errorf("parse(%s) = false", tt.line)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(command{})); diff != "" {
			t.Errorf("parse(%s) (-want +got):\n%s", tt.line, diff)
		}
	}
}

func TestParseLeavesToRuncWhatItDoesNotKnow(t *testing.T) {
	const global = "/bin/runc --root /r --log /b/log.json "
	for _, line := range []string{
		"",
		"/bin/runc",
		"/bin/runc start one",
		"/bin/runc --root /r start one",
		"/bin/runc --root",
		"/bin/runc --rootless=true --root /r --log /b/log.json start one",
		global,
		global + "start",
		global + "start --new one",
		global + "start one two",
		global + "create --bundle /b one",
		global + "create --bundle /b --pid-file /p --console-socket /s one",
		global + "create --bundle /b --pid-file /p --no-pivot one",
		global + "kill one",
		global + "kill one TERM",
		global + "exec --process /p one",
		global + "update --resources - one",
	} {
		if got, ok := parse(strings.Fields(line)); ok {
			t.Errorf("parse(%s) = %+v, want it to be left to runc", line, got)
		}
	}
}
