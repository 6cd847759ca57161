//go:build cluster

package cluster

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

// TestClusterAPI boots a machine as the infrastructure providers of Cluster API do: with
// the user data that its bootstrap provider renders, here on a NoCloud disk. The node joins
// a cluster of kubeadm, whose infrastructure provider waits for the sentinel file.
func TestClusterAPI(t *testing.T) {
	t.Parallel()
	e, u, join := kubeadmCluster(t)
	n := e.prepare(setup{name: "capi-worker", cloud: true, etc: noNetwork, memory: 768})
	seed := e.seed(t, n, map[string]string{
		"user-data": e.clusterAPI(t, "cloud-config", join),
		"meta-data": "instance-id: i-capi-1\nlocal-hostname: " + n.name + "\n",
		// This network has DHCP, and a provider that gives an address means it.
		"network-config": networkConfig(n),
	})
	n.cfg.CDs = []string{seed} // as hypervisors do
	n.start(t)
	testJoinedByClusterAPI(u, n)
	n.powerOff(t)
}

// TestClusterAPIOverHTTP is the same with Ignition, over HTTP, and with a token that is no
// longer good when the node boots again.
func TestClusterAPIOverHTTP(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e, u, join := kubeadmCluster(t)
	data := map[string]string{
		"/seed/user-data": e.clusterAPI(t, "ignition", join),
		"/seed/meta-data": "instance-id: i-capi-2\nlocal-hostname: capi-worker\n",
	}
	e.serve(8000, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := data[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	n := e.boot(setup{
		name: "capi-worker", cloud: true, etc: noNetwork, memory: 768,
		append: fmt.Sprintf("ds=nocloud;s=http://%s:8000/seed/", gateway),
	})
	testJoinedByClusterAPI(u, n)
	u.kubectl("delete", "secrets", "-n", "kube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
	n.powerOff(t)
	n.start(t)
	n.expect(t, `kubelet ready`)
	u.renews(n, 2)
	u.waitFor("node/"+n.name, "condition=Ready")
	n.powerOff(t)
}

// testJoinedByClusterAPI demands what Cluster API's contract and the user data say.
func testJoinedByClusterAPI(u *user, n *node) {
	t := u.t
	t.Helper()
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.demand(u.field("node/"+n.name, "{.metadata.labels.pool}"), "a")
	u.demand(u.field("node/"+n.name, "{.spec.taints[?(@.key=='dedicated')].effect}"), "PreferNoSchedule")
	u.demand(u.field("node/"+n.name, "{.spec.providerID}"), "test:///"+n.name)
	n.bringProbe(u)
	u.demand(n.probe(t, "cat", "/run/cluster-api/bootstrap-success.complete"), "success") // waits for it
	u.demand(n.probe(t, "cat", "/etc/kubernetes/azure.json"), "{}")
}

// kubeadmCluster makes a control plane with kubeadm, and returns what a worker joins with.
func kubeadmCluster(t *testing.T) (*env, *user, []string) {
	t.Helper()
	e := bareEnv(t, newest(t))
	k := newKubeadm(e)
	u := e.admin(t)
	u.namespace = "kube-system" // of what kubeadm puts into the cluster, and of the probe
	k.startControlPlane(u)
	printed := strings.Fields(k.run("token", "create", "--print-join-command", "--kubeconfig=/etc/kubernetes/admin.conf"))
	if len(printed) != 7 {
		t.Fatalf("kubeadm token create prints %q", printed)
	}
	return e, u, []string{printed[2], printed[4], printed[6]}
}

// clusterAPI renders user data with Cluster API's own code.
func (e *env) clusterAPI(t *testing.T, format string, join []string) string {
	t.Helper()
	spec := fmt.Sprintf(`format: %s
joinConfiguration:
  discovery:
    bootstrapToken: {apiServerEndpoint: "%s", token: "%s", caCertHashes: ["%s"]}
  nodeRegistration:
    name: "{{ ds.meta_data.local_hostname }}"
    taints: [{key: dedicated, effect: PreferNoSchedule}]
    kubeletExtraArgs:
    - {name: provider-id, value: "test:///'{{ ds.meta_data.local_hostname }}'"}
    - {name: node-labels, value: pool=a}
files:
- {path: /etc/kubernetes/azure.json, owner: "root:root", permissions: "0644", content: "{}"}
preKubeadmCommands: ["hostnamectl set-hostname \"{{ ds.meta_data.local_hostname }}\""]
postKubeadmCommands: ["touch /etc/a-file"]
`, format, join[0], join[1], join[2])
	if format == "ignition" { // which has no templates; its providers have the name elsewhere
		spec = strings.ReplaceAll(spec, "{{ ds.meta_data.local_hostname }}", "capi-worker")
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", "--kubernetes-version", e.products.Kubernetes)
	cmd.Dir = filepath.Join(lab.Root(t), "upstream/clusterapi")
	cmd.Stdin, cmd.Stderr = strings.NewReader(spec), os.Stderr
	text, err := cmd.Output()
	lab.Must(t, err)
	return string(text)
}

// networkConfig gives a machine its address, in version 2 of the format.
func networkConfig(n *node) string {
	return fmt.Sprintf(`version: 2
ethernets:
  lan:
    match: {macaddress: "%s"}
    addresses: [%s/24]
    routes: [{to: default, via: %s}]
    nameservers: {addresses: [%s]}
`, n.cfg.MAC, n.address, gateway, gateway)
}

// seed makes a NoCloud disk of files.
func (e *env) seed(t *testing.T, n *node, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(e.dir, n.name, "seed")
	for name, text := range files {
		lab.WriteFile(t, filepath.Join(dir, name), text)
	}
	lab.Run(t, "genisoimage", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-output", dir+".iso", dir)
	return dir + ".iso"
}
