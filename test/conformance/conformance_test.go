//go:build conformance

package conformance

import (
	_ "embed"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"kios/host/gobuild"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// These are for a person who looks into a single test.
var focus = flag.String("focus", "", "run only the tests whose names match this regular `expression`")

func TestConformance(t *testing.T) {
	lab.NeedRoot(t)
	lab.Only(t, "the images of the tests are made of this machine's programs")
	m := newMaker(t)
	images := makeLibrary(t, m.images())
	ginkgo, tests := m.program(gobuild.Ginkgo), m.program(gobuild.NodeTests)
	e := newEnv(t, m.b, images)
	t.Run("Node", func(t *testing.T) { e.testNode(t, ginkgo, tests) })
	t.Run("CRI", e.testCRI)
}

// beside is how many tests run at once. Most of them wait.
const beside = "10"

// testNode runs Kubernetes' own tests of nodes.
func (e *env) testNode(t *testing.T, ginkgo, tests string) {
	out := e.results(t, "node")
	left := leftOut(t).Node
	args := append([]string{
		ginkgo, "--no-color", "--succinct", "--procs=" + beside, "--timeout=6h", "--label-filter=NodeConformance",
		"--output-dir=" + out, "--junit-report=junit.xml",
	}, selection(left, "--")...)
	cmd := e.command(t.Context(), append(args, tests, "--", "--kubeconfig="+e.Kubeconfig(), "--provider=skeleton")...)
	cmd.Dir = out // the tests' own working directory is to be one that they can write to
	err := save(t, filepath.Join(out, "log"), func(w io.Writer) error {
		cmd.Stdout, cmd.Stderr = w, w
		return cmd.Run()
	})
	report(t, filepath.Join(out, "junit.xml"), left, err)
}

// testCRI runs critest in a pod on the node, while the API server is away. A kubelet
// ends what it does not know, as critest's sandboxes, but not before it has heard of all
// pods that it is to run; so it is started anew then.
func (e *env) testCRI(t *testing.T) {
	out := e.results(t, "cri")
	left := leftOut(t).CRI
	said, junit := e.receive(t, saidPort), e.receive(t, junitPort)
	script := fmt.Sprintf(critestScript, gateway, quoted(selection(left, "--ginkgo.")), saidPort, junitPort)
	if _, err := e.TryKubectl(critestPod(script), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	e.Kubectl("wait", "-n", "kube-system", "--for=condition=Ready", "pod/critest", "--timeout=5m")
	e.StopAPIServer()
	copied := copyTo(t, filepath.Join(out, "log"), said)
	failed := errors.Join(copied, copyTo(t, filepath.Join(out, "junit.xml"), junit))
	e.StartAPIServer()
	report(t, filepath.Join(out, "junit.xml"), left, failed)
}

// critestScript waits until the API server is away, and sends to the host what critest
// says, and then its results.
const critestScript = `while nc -z -w 5 %[1]s 6443; do sleep 1; done
kill $(pidof kubelet)
mount -t securityfs securityfs /sys/kernel/security
critest --ginkgo.no-color --ginkgo.succinct --ginkgo.timeout=3h --ginkgo.junit-report=/tmp/junit.xml --nri-socket=/run/nri/nri.sock %[2]s 2>&1 | nc %[1]s %[3]d
nc %[1]s %[4]d < /tmp/junit.xml
sleep inf
`

// Where the pod sends to.
const (
	saidPort  = 5001
	junitPort = 5002
)

// critestPod has what critest has where it is started on a node: the sockets of the
// runtime and of NRI, the node's processes and network, and a directory which the runtime finds
// under the same path, with the mounts that are made there.
func critestPod(script string) string {
	return `apiVersion: v1
kind: Pod
metadata: {name: critest, namespace: kube-system}
spec:
  hostNetwork: true
  hostPID: true
  hostIPC: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: critest
    image: kios.local/critest:1
    command: [sh, -c, ` + strconv.Quote(script) + `]
    env: [{name: TMPDIR, value: /var/lib/critest}]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: containerd, mountPath: /run/containerd}
    - {name: nri, mountPath: /run/nri}
    - {name: files, mountPath: /var/lib/critest, mountPropagation: Bidirectional}
  volumes:
  - {name: containerd, hostPath: {path: /run/containerd}}
  - {name: nri, hostPath: {path: /run/nri, type: Directory}}
  - {name: files, hostPath: {path: /var/lib/critest, type: DirectoryOrCreate}}
`
}

// quoted makes arguments of a shell of flags.
func quoted(flags []string) string {
	var b strings.Builder
	for _, f := range flags {
		b.WriteString(" '" + strings.ReplaceAll(f, "'", `'\''`) + "'")
	}
	return b.String()
}

// receive listens for the node, until the test ends.
func (e *env) receive(t *testing.T, port int) net.Listener {
	t.Helper()
	l := netns.Listen(t, e.name, fmt.Sprintf("%s:%d", gateway, port))
	t.Cleanup(func() { l.Close() })
	return l
}

// copyTo keeps what comes with one connection, until its end.
func copyTo(t *testing.T, file string, from net.Listener) error {
	t.Helper()
	conn, err := from.Accept()
	lab.Must(t, err)
	defer conn.Close()
	return save(t, file, func(w io.Writer) error {
		_, err := io.Copy(w, conn)
		return err
	})
}

// results is an empty directory for what a suite reports.
func (e *env) results(t *testing.T, suite string) string {
	t.Helper()
	dir := e.builder.Out("conformance/" + suite)
	lab.Must(t, os.RemoveAll(dir))
	lab.Must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// save keeps all that a suite says in a file, and tells the person how far it is.
func save(t *testing.T, file string, run func(io.Writer) error) error {
	t.Helper()
	log, err := os.Create(file)
	lab.Must(t, err)
	defer log.Close()
	t.Logf("what the tests say goes to %s", file)
	return run(io.MultiWriter(log, &counter{t: t}))
}

// counter counts the tests in what Ginkgo prints, a dot for each.
type counter struct {
	t            *testing.T
	done, failed int
	said         time.Time
}

func (p *counter) Write(b []byte) (int, error) {
	p.done += strings.Count(string(b), "•")
	p.failed += strings.Count(string(b), "• [FAILED]")
	if time.Since(p.said) > time.Minute {
		p.said = time.Now()
		p.t.Logf("%d tests have ended, %d of them failed", p.done, p.failed)
	}
	return len(b), nil
}

// exception are tests that are left out.
type exception struct {
	Tests  string `json:"tests"` // a regular expression of their names
	Reason string `json:"reason"`
}

//go:embed left-out.yaml
var leftOutYAML []byte

func leftOut(t *testing.T) (left struct {
	Node []exception `json:"node"`
	CRI  []exception `json:"cri"`
}) {
	t.Helper()
	lab.Must(t, yaml.UnmarshalStrict(leftOutYAML, &left))
	for _, x := range append(left.Node, left.CRI...) {
		if x.Reason == "" {
			t.Errorf("left-out.yaml gives no reason for %s", x.Tests)
		}
	}
	return left
}

// selection are the flags that say which tests run.
func selection(left []exception, prefix string) []string {
	var flags []string
	if *focus != "" {
		flags = append(flags, prefix+"focus="+*focus)
	}
	for _, x := range left {
		flags = append(flags, prefix+"skip="+x.Tests)
	}
	return flags
}

// testcase is one of the tests in a JUnit file of Ginkgo's.
type testcase struct {
	Name    string `xml:"name,attr"`
	Status  string `xml:"status,attr"`
	Skipped struct {
		Message string `xml:"message,attr"`
	} `xml:"skipped"`
	Failure struct {
		Message string `xml:"message,attr"`
	} `xml:"failure"`
}

// selected reports whether the test was to run. One that is not is skipped, like one
// that skips itself, but without a reason.
func (c testcase) selected() bool { return c.Status != "skipped" || c.Skipped.Message != "skipped" }

// isTest tells tests from what Ginkgo does before and after them.
func (c testcase) isTest() bool { return strings.HasPrefix(c.Name, "[It] ") }

// report fails for each test that has not passed, also if it has skipped itself: what
// is left out is to be known before.
func report(t *testing.T, file string, left []exception, failed error) {
	t.Helper()
	cases := read(t, file)
	passed := 0
	for _, c := range cases {
		switch {
		case !c.selected():
		case c.Status == "passed" && c.isTest():
			passed++
		case c.Status == "passed": // what is before and after all tests
		default:
			t.Errorf("%s: %s: %.300s%.300s", c.Name, c.Status, c.Skipped.Message, c.Failure.Message)
		}
	}
	t.Logf("%d tests have passed; %s has all of them", passed, file)
	if failed != nil || passed == 0 {
		t.Errorf("the tests ended with: %v", failed)
	}
	for _, x := range left {
		checkException(t, x, cases)
	}
}

// checkException fails if there is no such test.
func checkException(t *testing.T, x exception, cases []testcase) {
	t.Helper()
	pattern, err := regexp.Compile(x.Tests)
	lab.Must(t, err)
	for _, c := range cases {
		if pattern.MatchString(c.Name) {
			return
		}
	}
	t.Errorf("left-out.yaml has %q, and no test has such a name: remove it", x.Tests)
}

// read returns all tests of a JUnit file, and none of what is around them.
func read(t *testing.T, file string) []testcase {
	t.Helper()
	var results struct {
		Cases []testcase `xml:"testsuite>testcase"`
	}
	lab.Must(t, xml.Unmarshal([]byte(lab.ReadFile(t, file)), &results))
	return results.Cases
}
