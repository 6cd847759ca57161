package metadata

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
)

// The settings of the cluster that the firmware names go with it, below those of user data.
func TestUnderlay(t *testing.T) {
	ofFirmware := &want.Join{Server: "https://192.0.2.1"}
	firmware := &want.Node{Join: ofFirmware, Kubelet: map[string]any{"clusterDomain": "a", "maxPods": 1}}
	n := &want.Node{Kubelet: map[string]any{"maxPods": 2}}
	underlay(n, firmware)
	if diff := cmp.Diff(map[string]any{"clusterDomain": "a", "maxPods": 2}, n.Kubelet); diff != "" || n.Join != ofFirmware {
		t.Errorf("the node joins %+v (-want +got):\n%s", n.Join, diff)
	}
	n = &want.Node{Join: &want.Join{Server: "https://192.0.2.2"}}
	underlay(n, firmware)
	if n.Join == ofFirmware || len(n.Kubelet) > 0 {
		t.Errorf("a node of another cluster has %+v, %v", n.Join, n.Kubelet)
	}
}
