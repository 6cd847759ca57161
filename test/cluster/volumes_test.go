//go:build cluster

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/qemu"
	"kios/test/lab"
)

// addDisks gives a node blank disks, whose serial numbers are their names.
func (n *node) addDisks(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(n.env.dir, n.name, name+".raw")
		lab.Must(t, os.WriteFile(path, nil, 0o600))
		lab.Must(t, os.Truncate(path, 256<<20))
		n.cfg.Disks = append(n.cfg.Disks, qemu.Disk{Path: path, Format: "raw", Unsafe: true, Serial: name})
	}
}

// claim is a volume on a device of a node, and the claim that a pod has on it.
func claim(name, node, device, mode, fields string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec: {capacity: {storage: 100Mi}, accessModes: [ReadWriteOnce], storageClassName: %[1]s, volumeMode: %[4]s, local: {path: %[3]s%[5]s},
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[2]s]}]}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[1]s}
spec: {accessModes: [ReadWriteOnce], storageClassName: %[1]s, volumeMode: %[4]s, resources: {requests: {storage: 100Mi}}}
---
`, name, node, device, mode, fields)
}

// volumePod is a pod that writes to a claim: to the device, or to a file.
func volumePod(name, where, args string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec: {restartPolicy: Never, terminationGracePeriodSeconds: 1, hostNetwork: true, tolerations: [{operator: Exists}],
  containers: [{name: main, image: "kios.local/workload:1", args: [%[3]s], %[2]s}],
  volumes: [{name: v, persistentVolumeClaim: {claimName: %[1]s}}]}
`, name, where, args)
}

// checkVolumes has pods use blank disks of the node: one as it is, and one that the
// kubelet formats first.
func checkVolumes(u *user, n *node) {
	u.t.Helper()
	u.apply(claim("block", n.name, "/dev/vdb", "Block", "") +
		volumePod("block", "volumeDevices: [{name: v, devicePath: /dev/xvda}]", "write, /dev/xvda, raw"))
	u.apply(claim("formatted", n.name, "/dev/vdc", "Filesystem", ", fsType: ext4") +
		volumePod("formatted", "volumeMounts: [{name: v, mountPath: /data}]", "write, /data/file, kept"))
	u.succeeded("block", "formatted")
	disk := func(name string) string {
		data, err := os.ReadFile(filepath.Join(n.env.dir, n.name, name+".raw"))
		lab.Must(u.t, err)
		return string(data)
	}
	if !strings.HasPrefix(disk("vdb"), "raw") {
		u.t.Error("the pod with the raw device has not written to the disk")
	}
	if magic := disk("vdc")[1080:1082]; magic != "\x53\xef" {
		u.t.Errorf("the disk has the magic number %x, not that of ext4", magic)
	}
	u.kubectl("delete", "pod", "block", "formatted")
}
