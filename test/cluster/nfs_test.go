//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// nfsPath is where the NFS server has its files, for those who mount it.
const nfsPath = "/vol"

// nfs serves a directory at the gateway, by versions 4 of NFS, until the test ends.
func (e *env) nfs() (dir string, server *netns.Process) {
	e.t.Helper()
	dir = lab.NewExt4(e.t).Dir // the server wants a file system with handles of files
	state := e.t.TempDir()
	conf := filepath.Join(state, "ganesha.conf")
	lab.WriteFile(e.t, conf, fmt.Sprintf(`NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = "%s"; }
EXPORT {
  Export_Id = 1; Path = "%s"; Pseudo = %s; Protocols = 4; Transports = TCP;
  Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  FSAL { Name = VFS; }
}
`, state, dir, nfsPath))
	noBus := []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere"} // that of this machine is not for tests
	server = netns.Start(e.t, e.name, noBus, "ganesha.nfsd", "-F", "-f", conf, "-L", "STDOUT", "-N", "EVENT", "-p", filepath.Join(state, "pid"))
	lab.Until(e.t, time.Minute, "the NFS server", func() bool { return strings.Contains(server.String(), "NFS SERVER INITIALIZED") })
	return dir, server
}

// nfsPod is a pod with a volume of an NFS server at /data.
func nfsPod(name, node, server, args string) string {
	return pod(name, node, fmt.Sprintf(`
  hostNetwork: true
  restartPolicy: Never
  containers: [{name: main, image: "kios.local/workload:1", args: [%s], volumeMounts: [{name: v, mountPath: /data}]}]
  volumes: [{name: v, nfs: {server: %s, path: %s}}]
`, args, server, nfsPath))
}

// TestNFS has pods use volumes of a real NFS server. Then the server is gone: only what
// uses it waits for it, and the node can be switched off.
func TestNFS(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	dir, server := e.nfs()
	n := e.boot(setup{name: "worker-1", memory: 768, etc: noNetwork})
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")

	u.apply(nfsPod("by-name", n.name, "nfs.outside.example", "write, /data/file, kept"))
	u.succeeded("by-name")
	u.demand(lab.ReadFile(t, filepath.Join(dir, "file")), "kept")
	u.apply(nfsPod("by-address", n.name, gateway, "cat, /data/file"))
	u.succeeded("by-address")
	u.demand(u.kubectl("logs", "by-address"), "kept")
	t.Run("Refused", func(t *testing.T) { testRefusedVolumes(e.admin(t), n) })

	o.set(n, "file", "first")
	u.apply(nfsPod("writing", n.name, gateway, fmt.Sprintf("follow, \"http://%s:%d/%s/file\", /data/followed", gateway, offersPort, n.name)))
	u.eventually("a file of the pod that goes on writing", func() error {
		_, err := os.Stat(filepath.Join(dir, "followed"))
		return err
	})
	server.Stop()
	o.set(n, "file", "second")
	testWithoutServer(u, n)
	n.powerOff(t)
}

// testRefusedVolumes has pods with volumes that the node cannot mount. Their events say
// what is missing.
func testRefusedVolumes(u *user, n *node) {
	u.apply(strings.Replace(nfsPod("not-exported", n.name, gateway, "list, /data"), "path: "+nfsPath, "path: /absent", 1))
	u.apply(strings.Replace(nfsPod("iscsi", n.name, gateway, "list, /data"),
		"nfs: {server: "+gateway+", path: "+nfsPath+"}", "iscsi: {targetPortal: "+gateway+", iqn: \"iqn.2026-11.example:disk\", lun: 0}", 1))
	for pod, want := range map[string]string{
		"not-exported": "the server does not export that path",
		"iscsi":        "kiOS has no iSCSI initiator: use a CSI driver",
	} {
		u.eventually("an event of "+pod, func() error {
			text, err := u.try("get", "events", "--field-selector=reason=FailedMount,involvedObject.name="+pod, "-o", "jsonpath={.items[*].message}")
			return errors.Join(err, wants(text, want))
		})
	}
	u.kubectl("delete", "pod", "not-exported", "iscsi")
}

// testWithoutServer demands that the node is well while a pod of it waits for a server
// that is gone.
func testWithoutServer(u *user, n *node) {
	u.t.Helper()
	u.kubectl("delete", "pod", "writing", "--wait=false")
	u.apply(nfsPod("late", n.name, gateway, "list, /data"))
	// They are ten seconds apart: by then the cluster would have taken the node for lost,
	// and the kubelet has looked at all volumes.
	u.renews(n, 10)
	u.waitFor("node/"+n.name, "condition=Ready")
	u.demand(u.field("pod/late", "{.status.phase}"), "Pending")
	u.kubectl("get", "pod", "writing") // it cannot end
	u.apply(hostPod("other", n.name))
	u.ready("other")
	u.kubectl("delete", "pod", "other")
	u.demand(n.probe(u.t, "cat", "/etc/hostname"), n.name)
}

// renews waits until the kubelet has said so often that it is there.
func (u *user) renews(n *node, times int) {
	u.t.Helper()
	seen := map[string]bool{}
	u.within(3*time.Minute, fmt.Sprintf("%s renews its lease %d times", n.name, times), func() error {
		text, err := u.try("get", "lease", "-n", "kube-node-lease", n.name, "-o", "jsonpath={.spec.renewTime}")
		seen[text] = true
		if err == nil && len(seen) <= times {
			err = fmt.Errorf("it has done so %d times", len(seen)-1)
		}
		return err
	})
}
