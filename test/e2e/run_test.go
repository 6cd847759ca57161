//go:build image

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/test/lab"
)

// kiosRun is the command "kios run" of this checkout, with its output line by line.
type kiosRun struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	all   strings.Builder
}

// startRun runs it as a user does, in the checkout and with nothing prepared.
func startRun(t *testing.T, temp string, args ...string) *kiosRun {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "kios")
	build := exec.Command("go", "build", "-o", bin, "kios/host/kios")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := &kiosRun{t: t, cmd: exec.Command(bin, slices.Concat([]string{"run"}, strings.Fields(lab.Arch(t).Flag()), args)...), lines: make(chan string, 10000)}
	r.cmd.Dir = filepath.Dir(filepath.Dir(filepath.Dir(lab.Out(t, "kios.efi"))))
	r.cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := r.cmd.StdoutPipe()
	lab.Must(t, err)
	r.cmd.Stderr = r.cmd.Stdout
	lab.Must(t, r.cmd.Start())
	t.Cleanup(func() { r.cmd.Process.Kill() })
	go func() {
		defer close(r.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			r.lines <- scan.Text()
		}
	}()
	return r
}

// expect waits for a line.
func (r *kiosRun) expect(want string) {
	r.t.Helper()
	late := time.After(8 * time.Minute)
	for {
		select {
		case line, open := <-r.lines:
			if !open {
				r.t.Fatalf("kios run ended before it said %q:\n%s", want, r.all.String())
			}
			r.all.WriteString(line + "\n")
			if strings.Contains(line, want) {
				return
			}
		case <-late:
			r.t.Fatalf("kios run does not say %q:\n%s", want, r.all.String())
		}
	}
}

// ends waits for its end and returns its exit code.
func (r *kiosRun) ends() int {
	for line := range r.lines {
		r.all.WriteString(line + "\n")
	}
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// left lists what a run has left in its directory for temporary files and in the cache.
func left(t *testing.T, temp string) []string {
	t.Helper()
	cacheDir, err := os.UserCacheDir()
	lab.Must(t, err)
	var found []string
	for _, pattern := range []string{temp + "/*", cacheDir + "/kios/tmp/run-*"} {
		names, err := filepath.Glob(pattern)
		lab.Must(t, err)
		found = append(found, names...)
	}
	return found
}

// The README's first command: the example pod runs, Ctrl-C presses the power button,
// and nothing is left behind.
func TestKiosRun(t *testing.T) {
	temp := t.TempDir()
	r := startRun(t, temp, "--firmware", "direct")
	r.expect("all pods are running; press Ctrl-C")
	lab.Must(t, r.cmd.Process.Signal(syscall.SIGINT))
	r.expect("powered off")
	if code := r.ends(); code != 0 {
		t.Errorf("exit code %d after a power-off in order:\n%s", code, r.all.String())
	}
	if found := left(t, temp); len(found) > 0 {
		t.Errorf("it left %v", found)
	}
}

// A second Ctrl-C cuts the power of a machine that still boots; what is left is the log
// that the message names.
func TestKiosRunCutOff(t *testing.T) {
	temp := t.TempDir()
	etc := t.TempDir()
	lab.WriteFile(t, filepath.Join(etc, "kubernetes/manifests/time.yaml"), "") // removes the pod, without --no-check
	r := startRun(t, temp, "--etc", etc, "--firmware", "direct")
	r.expect("power on")
	lab.Must(t, r.cmd.Process.Signal(syscall.SIGINT))
	r.expect("power button pressed")
	<-time.After(1500 * time.Millisecond) // signals of one second count as one
	lab.Must(t, r.cmd.Process.Signal(syscall.SIGINT))
	if code := r.ends(); code == 0 {
		t.Errorf("exit code 0 after a power cut:\n%s", r.all.String())
	}
	for _, path := range left(t, temp) {
		if !strings.Contains(r.all.String(), path) {
			t.Errorf("it left %s, and does not say so:\n%s", path, r.all.String())
		}
	}
}

// userDataParts are user data of which a part is right, one has a mistake, and one makes no
// sense at all.
const userDataParts = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: text/cloud-config

#cloud-config
hostname: from-run
write_files:
  - {path: /etc/kubernetes/node-labels, content: "example.com/team: blue"}
  - {path: /etc/kubernetes/node-ip, content: 192.0.2.1, encoding: rot13}
--//
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec: [
--//--
`

// User data are shown what becomes of them: what is right while the node runs and when it
// is off, and each mistake.
func TestUserDataOfKiosRun(t *testing.T) {
	lab.Long(t)
	temp := t.TempDir()
	file := filepath.Join(t.TempDir(), "user-data")
	lab.WriteFile(t, file, userDataParts)
	r := startRun(t, temp, "--firmware", "direct", "--user-data", file)
	r.expect("on EC2: i-0")
	r.expect(`write_files: "/etc/kubernetes/node-ip": the encoding "rot13" is not known`)
	r.expect("metadata: wrote /etc/kubernetes/node-labels")
	r.expect("press Ctrl-C")
	lab.Must(t, r.cmd.Process.Signal(syscall.SIGINT))
	r.expect("powered off")
	r.expect("In the node's /etc, from this run on:")
	if code := r.ends(); code != 0 {
		t.Errorf("exit code %d after a power-off in order", code)
	}
	for _, want := range []string{
		"metadata: user data, part 2: a NodeConfig: ", "  hostname\n      from-run\n", "  kubernetes/node-labels\n      example.com/team: blue\n",
	} {
		if !strings.Contains(r.all.String(), want) {
			t.Errorf("%q is missing:\n%s", want, r.all.String())
		}
	}
	if found := left(t, temp); len(found) > 0 {
		t.Errorf("it left %v", found)
	}
}
