//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kios/host/clusterconfig"
	"kios/host/gobuild"
	"kios/test/lab"
)

// TestNode is the short test of them all: a node joins a cluster, runs pods for
// it and is drained. "make test" runs it.
func TestNode(t *testing.T) { checkNode(t, newest(t)) }

// TestSkew does the same with each control plane that can be built: a node's
// kubelet may be two minor versions older than the API server, and never newer.
func TestSkew(t *testing.T) {
	lab.Long(t)
	newestVersion := newest(t)
	versions, err := gobuild.ControlPlaneVersions(lab.Root(t))
	lab.Must(t, err)
	for _, version := range versions {
		if version != newestVersion {
			t.Run(version, func(t *testing.T) { checkNode(t, version) })
		}
	}
}

func checkNode(t *testing.T, version string) {
	e := newEnv(t, clusterconfig.Config{Kubernetes: version})
	n := e.prepare(setup{
		name:   "worker-1",
		images: e.products.Worker,
		etc: map[string]string{
			// As the first kiOS took it: comments, and quotes that vanish.
			"kubernetes/node-labels": "# labels\nexample.com/zone: west\nexample.com/disk: \"fast\" # said so\n",
			// Of two addresses a kubelet without node-ip takes the first.
			"kios/network.yaml":                 strings.Replace(networkFile("10.79.0.11"), "[", "[10.79.0.111/24, ", 1),
			"kubernetes/node-ip":                "10.79.0.11\n",
			"kubernetes/config.d/70-taint.yaml": kubeletConfiguration + "registerWithTaints: [{key: example.com/reserved, value: tests, effect: NoSchedule}]\n",
		},
	})
	n.addDisks(t, "vdb", "vdc")
	n.start(t)
	e.addOns()
	u := e.user(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	checkRegistered(u, n, version)
	checkCertificates(u, n)
	checkRunsPods(u, n)
	checkVolumes(u, n)
	checkDrain(u, n)
}

// kubeletConfiguration begins a file of config.d.
const kubeletConfiguration = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// checkRegistered demands that the node is known as its files say.
func checkRegistered(u *user, n *node, version string) {
	u.t.Helper()
	for path, want := range map[string]string{
		`{.metadata.labels.example\.com/zone}`:                     "west",
		`{.metadata.labels.example\.com/disk}`:                     "fast",
		`{.spec.taints[?(@.key=="example.com/reserved")].value}`:   "tests",
		`{.status.addresses[?(@.type=="InternalIP")].address}`:     n.address,
		`{.status.addresses[?(@.type=="Hostname")].address}`:       n.name,
		`{.status.nodeInfo.operatingSystem}`:                       "linux",
		`{.status.conditions[?(@.type=="MemoryPressure")].status}`: "False",
	} {
		if got := u.field("node/"+n.name, path); got != want {
			u.t.Errorf("%s of the node is %q, want %q", path, got, want)
		}
	}
	u.demand(u.field("node/"+n.name, "{.status.nodeInfo.kubeletVersion}"), kubeletVersion(u.t))
	u.demand(u.field("node/"+n.name, "{.status.nodeInfo.osImage}"), "kiOS")
	u.demand(u.kubectl("version"), "Server Version: "+version)
}

// kubeletVersion is that of the node's kubelet, such as v1.35.4.
func kubeletVersion(t *testing.T) string {
	t.Helper()
	kubelet := gobuild.Upstream[slices.IndexFunc(gobuild.Upstream, func(p gobuild.Program) bool { return p.Name == "kubelet" })]
	version, err := kubelet.Version(t.Context(), lab.Root(t))
	lab.Must(t, err)
	return version
}

// request is a CertificateSigningRequest.
type request struct {
	Metadata struct{ Name string }
	Spec     struct{ SignerName, Username string }
	Status   struct {
		Certificate string
		Conditions  []struct{ Type, Message string }
	}
}

func requests(u *user) ([]request, error) {
	var list struct{ Items []request }
	err := u.get(&list, "certificatesigningrequests")
	return list.Items, err
}

// checkCertificates demands that the node has got both of its certificates from
// the cluster: the first as a holder of the token, the second as itself.
func checkCertificates(u *user, n *node) {
	u.t.Helper()
	wanted := map[string]string{
		"kubernetes.io/kube-apiserver-client-kubelet": "system:bootstrap:",
		"kubernetes.io/kubelet-serving":               "system:node:" + n.name,
	}
	u.eventually("signed certificates", func() error {
		list, err := requests(u)
		for signer, user := range wanted {
			err = errors.Join(err, signed(list, signer, user))
		}
		return err
	})
	// Whoever connects to the kubelet can tell that it is the node.
	ca := u.file("ca.crt", n.env.ca)
	u.eventually("a serving certificate", func() error {
		_, err := n.env.curl("--cacert", ca, "https://"+n.address+":10250/healthz")
		return err
	})
}

// signed looks for a request that was approved and signed.
func signed(list []request, signer, user string) error {
	for _, r := range list {
		approved := len(r.Status.Conditions) == 1 && r.Status.Conditions[0].Type == "Approved"
		if r.Spec.SignerName == signer && strings.HasPrefix(r.Spec.Username, user) && approved && r.Status.Certificate != "" {
			return nil
		}
	}
	return fmt.Errorf("no request of %s for %s was signed: %+v", user, signer, list)
}

// checkRunsPods runs a pod that puts up with the node's taint, and one that does
// not.
func checkRunsPods(u *user, n *node) {
	u.t.Helper()
	u.apply(deployment("first", 1, `
      tolerations: [{key: example.com/reserved, operator: Exists}]
      containers:
      - {name: main, image: kios.local/workload:1, args: [tick]}
`))
	u.apply(`{apiVersion: v1, kind: Pod, metadata: {name: kept-off}, spec: {containers: [{name: main, image: "kios.local/workload:1"}]}}`)
	u.waitFor("deployment/first", "condition=Available")
	u.eventually("the first line of the log", func() error { return wants(u.kubectl("logs", "deployment/first"), "tick 1\n") })
	if got := u.kubectl("exec", "deployment/first", "--", "/workload", "cat", "/etc/hostname"); !strings.HasPrefix(got, "first-") {
		u.t.Errorf("the pod's host name is %q", got)
	}
	u.waitFor("pod/kept-off", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable`)
}

// checkDrain drains the only node: its pod goes and has no other place. Then it
// comes back.
func checkDrain(u *user, n *node) {
	u.t.Helper()
	before := u.field("pod", "{.items[?(@.metadata.labels.app==\"first\")].metadata.name}")
	u.kubectl("drain", n.name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", fmt.Sprintf("--timeout=%ds", int(u.patience.Seconds())))
	if got := u.field("node/"+n.name, "{.spec.unschedulable}"); got != "true" {
		u.t.Errorf("unschedulable is %q after drain", got)
	}
	if got := u.field("pod", "{.items[*].metadata.name}"); strings.Contains(got, before) {
		u.t.Errorf("pod %s is still there after drain: %s", before, got)
	}
	u.waitFor("deployment/first", "condition=Available=False")
	u.kubectl("uncordon", n.name)
	u.waitFor("deployment/first", "condition=Available")
}

// deployment makes a Deployment; spec is that of its pods, indented by six.
func deployment(name string, replicas int, spec string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 2
%[3]s`, name, replicas, strings.TrimPrefix(spec, "\n"))
}
