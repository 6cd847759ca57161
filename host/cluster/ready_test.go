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

// powerOn is when the node a was powered on, of which the API server knows the time
// to the second.
var powerOn = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

const (
	readyNode = `{"metadata": {"name": "a"}, "status": {"conditions": [
		{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:05Z"}]}}`
	staleNode = `{"metadata": {"name": "a"}, "status": {"conditions": [
		{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-02T03:04:04Z"}]}}`
	noNetworkNode = `{"metadata": {"name": "a"}, "status": {"conditions": [
		{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no\nnetwork", "lastHeartbeatTime": "2026-01-02T03:05:00Z"}]}}`
	runningPod = `{"metadata": {"namespace": "kube-system", "name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
		"conditions": [{"type": "Ready", "status": "True"}],
		"initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}],
		"containerStatuses": [{"state": {"running": {"startedAt": "2026-01-02T03:04:30Z"}}}]}}`
	crashingPod = `{"metadata": {"name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
		"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}}`
	stalePod = `{"metadata": {"name": "p"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running",
		"conditions": [{"type": "Ready", "status": "True"}],
		"containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2026-01-02T03:00:00Z"}}}]}}`
	homelessPod = `{"metadata": {"name": "p"}, "status": {"phase": "Pending",
		"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}}`
	unreadyPod = `{"metadata": {"name": "p"}, "status": {"phase": "Running",
		"conditions": [{"type": "Ready", "status": "False", "message": "probe"}]}}`
	endedPod  = `{"metadata": {"name": "p"}, "status": {"phase": "Failed"}}`
	endingPod = `{"metadata": {"name": "p", "deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"phase": "Pending"}}`
	halfReady = `{"metadata": {"name": "d", "generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 1}}`
	unseen    = `{"metadata": {"name": "d", "generation": 1}}`
	noneReady = `{"metadata": {"name": "d", "generation": 1}, "status": {"observedGeneration": 1}}`
)

var missingTests = []struct {
	name                         string
	node, pod, daemonSet, deploy string
	want                         []string
}{
	{name: "all is well", node: readyNode, pod: runningPod},
	{name: "not there", want: []string{"node a: has not joined"}},
	{name: "of an earlier boot", node: staleNode, want: []string{"node a: has not reported since its power-on"}},
	{name: "not ready", node: noNetworkNode, want: []string{"node a: not ready: KubeletNotReady: no network"}},
	{name: "crashes", node: readyNode, pod: crashingPod, want: []string{"pod p: container c is waiting: CrashLoopBackOff back-off"}},
	{name: "of an earlier boot, too", node: readyNode, pod: stalePod, want: []string{"pod p: has not reported since its node's power-on"}},
	{name: "no room", node: readyNode, pod: homelessPod, want: []string{"pod p: pending 0/1 nodes"}},
	{name: "readiness", node: readyNode, pod: unreadyPod, want: []string{"pod p: not ready: probe"}},
	{name: "ended", node: readyNode, pod: endedPod},
	{name: "ends", node: readyNode, pod: endingPod},
	{name: "daemon set", node: readyNode, daemonSet: halfReady, want: []string{"daemon set d: 1 of 2 pods ready"}},
	{name: "nobody has seen it", node: readyNode, daemonSet: unseen, want: []string{"daemon set d: 0 of 0 pods ready"}},
	{name: "deployment", node: readyNode, deploy: noneReady, want: []string{"deployment d: 0 of 1 pods ready"}},
}

// some decodes an object, or none of an empty text.
func some[T any](t *testing.T, text string) []T {
	t.Helper()
	if text == "" {
		return nil
	}
	return []T{decode[T](t, text)}
}

func TestMissing(t *testing.T) {
	for _, tt := range missingTests {
		t.Run(tt.name, func(t *testing.T) {
			s := snapshot{
				nodes:       some[apiNode](t, tt.node),
				pods:        some[apiPod](t, tt.pod),
				daemonSets:  some[workload](t, tt.daemonSet),
				deployments: some[workload](t, tt.deploy),
			}
			if diff := cmp.Diff(tt.want, s.missing(map[string]time.Time{"a": powerOn})); diff != "" {
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
