//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kios/host/clusterconfig"
	"kios/test/lab"
)

// TestJoiningSteps does what docs/joining.md shows, with the commands that it
// shows: a node with a kubeconfig of its own, and its serving certificate, which
// nobody approves but a person.
func TestJoiningSteps(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	e.plane.Stop("kubelet-serving-approver")
	u := e.admin(t)
	n := e.prepare(setup{name: "node-1", files: clusterconfig.Files{}, etc: noNetwork, memory: 768})
	steps := e.shell(t)
	steps(section(t, "With a ready kubeconfig"), n)
	n.start(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")

	// Until somebody approves, the kubelet serves with what init made.
	ca := u.file("ca.crt", e.ca)
	address := "https://" + n.address + ":10250/healthz"
	pending := pendingServing(u, n)
	if _, err := e.curl("--cacert", ca, address); err == nil {
		t.Error("the kubelet has a certificate of the cluster's that nobody approved")
	}
	if text, err := e.curl("--insecure", address); err != nil || !strings.Contains(text, "Unauthorized") {
		t.Errorf("the kubelet's port: %q, %v", text, err)
	}
	u.kubectl(append([]string{"certificate", "approve"}, pending...)...)
	u.eventually("a certificate of the cluster's", func() error { _, err := e.curl("--cacert", ca, address); return err })
	u.demand(n.probe(t, "cat", "/etc/hostname"), n.name)
	n.powerOff(t)
}

// section returns the commands of a section of docs/joining.md: the lines that
// are indented by four.
func section(t *testing.T, title string) string {
	t.Helper()
	_, text, found := strings.Cut(lab.ReadFile(t, filepath.Join(lab.Root(t), "docs/joining.md")), "\n## "+title+"\n")
	if !found {
		t.Fatalf("docs/joining.md has no section %q", title)
	}
	body, _, _ := strings.Cut(text, "\n## ")
	var commands strings.Builder
	for line := range strings.Lines(body) {
		if command, indented := strings.CutPrefix(line, "    "); indented {
			commands.WriteString(command)
		}
	}
	return commands.String()
}

// shell returns a function that runs commands of the docs where the API server
// is within reach. They make node.img, which becomes the node's disk.
func (e *env) shell(t *testing.T) func(commands string, n *node) {
	t.Helper()
	dir := t.TempDir()
	kios := filepath.Join(dir, "kios")
	if text, err := exec.Command("go", "build", "-trimpath", "-o", kios, "kios/host/kios").CombinedOutput(); err != nil {
		t.Fatalf("build kios: %v\n%s", err, text)
	}
	lab.WriteFile(t, filepath.Join(dir, "ca.crt"), e.ca)
	return func(commands string, n *node) {
		t.Helper()
		// What the docs leave to the reader: addresses, and what the tests' nodes
		// have besides.
		etc := filepath.Join(e.dir, n.name, "etc")
		lab.Must(t, os.Remove(filepath.Join(etc, "hostname")))
		more := " --force --size 3G --efi " + lab.Out(t, "kios.efi") + " --etc " + etc
		for _, archive := range testImages(t) {
			more += " --oci " + archive
		}
		commands = strings.NewReplacer("10.0.0.1:6443", endpoint, "kios image", kios+" image"+more, " node.img", " "+n.disk).Replace(commands)
		// kubectl is the cluster's, and the administrator's but where it makes
		// a kubeconfig.
		kubectl := fmt.Sprintf("kubectl() { case \" $* \" in *' --kubeconfig '*) %[1]s \"$@\";; *) %[1]s --kubeconfig=%[2]s \"$@\";; esac; }",
			absolute(t, e.products.Bin["kubectl"]), absolute(t, e.kubeconfig()))
		commands = fmt.Sprintf("set -eu\ncd %s\n%s\n%s", dir, kubectl, commands)
		text, err := exec.Command("ip", "netns", "exec", e.name, "bash", "-c", commands).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, commands, text)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	lab.Must(t, err)
	return path
}

// pendingServing returns the requests of a node for its serving certificate.
func pendingServing(u *user, n *node) (names []string) {
	u.t.Helper()
	u.eventually("a request for a serving certificate", func() error {
		list, err := requests(u)
		for _, r := range list {
			if r.Spec.SignerName == "kubernetes.io/kubelet-serving" && r.Spec.Username == "system:node:"+n.name && len(r.Status.Conditions) == 0 {
				names = append(names, r.Metadata.Name)
			}
		}
		if err == nil && names == nil {
			err = errors.New("there is none")
		}
		return err
	})
	return names
}

// TestFreshToken boots a node with a token that the cluster does not know any
// more. It joins as soon as it gets a good one, and joins again when it is
// given another name.
func TestFreshToken(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	good := e.bootstrapKubeconfig()
	stale := regexp.MustCompile(`token: .*`).ReplaceAllString(good, "token: aaaaaa.0123456789abcdef")
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		etc: with(noNetwork, standing, fetching("worker-1", bootstrapFile), map[string]string{bootstrapFile: stale}),
	})
	n.expect(t, `pod default/standing\S* container main started`)
	n.expect(t, `pod kube-system/fetch\S* container main started`)
	o.set(n, bootstrapFile, good)
	n.expect(t, `the kubelet starts again, to join the cluster at https://`+regexp.QuoteMeta(endpoint))
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")

	n.probe(t, "write", "/etc/hostname", "other-name\n")
	n.powerOff(t)
	n.start(t)
	u.waitFor("node/other-name", "create")
	u.waitFor("node/other-name", "condition=Ready")
	n.powerOff(t)
}
