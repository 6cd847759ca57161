package cluster

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestMissing(t *testing.T) {
	since := map[string]time.Time{"a": time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)}
	const (
		ready   = `{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:05Z"}]}}`
		stale   = `{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:04Z"}]}}`
		notNet  = `{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no\nnetwork", "lastHeartbeatTime": "2026-01-02T03:05:00Z"}]}}`
		running = `{"metadata": {"namespace": "kube-system", "name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
			"conditions": [{"type": "Ready", "status": "True"}],
			"initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}],
			"containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02T03:04:30Z"}}}]}}`
	)
	for _, tt := range []struct {
		name                         string
		node, pod, daemonSet, deploy string
		want                         []string
	}{
		{name: "all is well", node: ready, pod: running},
		{name: "not there", want: []string{"node a: has not joined"}},
		{name: "of an earlier boot", node: stale, want: []string{"node a: has not reported since its power-on"}},
		{name: "not ready", node: notNet, want: []string{"node a: not ready: KubeletNotReady: no network"}},
		{name: "crashes", node: ready, pod: `{"metadata": {"name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
			"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}}`,
			want: []string{"pod p: container c is waiting: CrashLoopBackOff back-off"}},
		{name: "of an earlier boot, too", node: ready, pod: `{"metadata": {"name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
			"conditions": [{"type": "Ready", "status": "True"}],
			"containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2026-01-02T03:00:00Z"}}}]}}`,
			want: []string{"pod p: has not reported since its node's power-on"}},
		{name: "no room", node: ready, pod: `{"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}}`,
			want: []string{"pod p: pending 0/1 nodes"}},
		{name: "readiness", node: ready, pod: `{"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "message": "probe"}]}}`,
			want: []string{"pod p: not ready: probe"}},
		{name: "ended", node: ready, pod: `{"metadata": {"name": "p"}, "status": {"phase": "Failed"}}`},
		{name: "ends", node: ready, pod: `{"metadata": {"name": "p", "deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"phase": "Pending"}}`},
		{name: "daemon set", node: ready, daemonSet: `{"metadata": {"name": "d", "generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 1}}`,
			want: []string{"daemon set d: 1 of 2 pods ready"}},
		{name: "nobody has seen it", node: ready, daemonSet: `{"metadata": {"name": "d", "generation": 1}}`,
			want: []string{"daemon set d: 0 of 0 pods ready"}},
		{name: "deployment", node: ready, deploy: `{"metadata": {"name": "d", "generation": 1}, "status": {"observedGeneration": 1}}`,
			want: []string{"deployment d: 0 of 1 pods ready"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s snapshot
			if tt.node != "" {
				s.nodes = []apiNode{decode[apiNode](t, tt.node)}
			}
			if tt.pod != "" {
				s.pods = []apiPod{decode[apiPod](t, tt.pod)}
			}
			if tt.daemonSet != "" {
				s.daemonSets = []workload{decode[workload](t, tt.daemonSet)}
			}
			if tt.deploy != "" {
				s.deployments = []workload{decode[workload](t, tt.deploy)}
			}
			if diff := cmp.Diff(tt.want, s.missing(since)); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodeState(t *testing.T) {
	for text, want := range map[string]string{
		`{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}`:                                  "Ready",
		`{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}`:                                 "NotReady",
		`{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}`:                               "Unknown",
		`{"metadata": {"name": "a"}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}`: "Ready,SchedulingDisabled",
	} {
		if got := decode[apiNode](t, text).state(time.Time{}); got != want {
			t.Errorf("state of %s = %s, want %s", text, got, want)
		}
	}
}
