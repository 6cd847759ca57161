// Package controlplane runs the control plane of a cluster as ordinary processes
// in a network namespace, for the tests of nodes: it is ready in seconds where
// one on a node takes a minute. It takes root, and "make controlplane".
package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// Bounds, for a machine that does other things, too.
const (
	readyBound = 2 * time.Minute
	poll       = 100 * time.Millisecond
	logTail    = 30 // lines of each process, of a test that failed
)

// ControlPlane is one that runs until the test ends.
type ControlPlane struct {
	t         testing.TB
	namespace string
	cluster   *clusterconfig.Cluster
	dir       string // logs, and the administrator's kubeconfig
	kubectl   string
	processes []*process
}

// process is a program that is started again after it was stopped, with the
// same log.
type process struct {
	clusterconfig.Process
	log  string
	cmd  *exec.Cmd       // nil while it is stopped
	done <-chan struct{} // closed when cmd has ended
}

// Programs returns the programs of the newest control plane that "make controlplane"
// made, or those in the directory KIOS_CLUSTER_BIN.
func Programs(t testing.TB) map[string]string {
	t.Helper()
	bin := map[string]string{}
	for _, name := range []string{"kubernetes", "etcd", "kubectl"} {
		if dir := os.Getenv("KIOS_CLUSTER_BIN"); dir != "" {
			bin[name] = filepath.Join(dir, name)
		} else {
			bin[name] = lab.ClusterOut(t, clusterconfig.DefaultKubernetes, name)
		}
	}
	return bin
}

// Start starts the control plane of c in the namespace and waits until it is
// ready. The programs are those of Programs, or of build.ClusterProducts. Logs are in Dir, which stays
// if the test fails, and their ends are shown then. The flags are more for the API server.
func Start(t testing.TB, namespace string, c *clusterconfig.Cluster, bin map[string]string, flags ...string) *ControlPlane {
	t.Helper()
	processes, err := c.Processes(bin)
	lab.Must(t, err)
	p := &ControlPlane{t: t, namespace: namespace, cluster: c, kubectl: bin["kubectl"]}
	if p.dir, err = os.MkdirTemp("", "kios-control-plane-"); err != nil {
		t.Fatal(err)
	}
	for _, one := range processes {
		if one.Name == "kube-apiserver" {
			one.Argv = append(one.Argv, flags...)
		}
		p.processes = append(p.processes, &process{Process: one, log: filepath.Join(p.dir, one.Name+".log")})
	}
	lab.Must(t, p.writeKubeconfig())
	t.Cleanup(p.end)
	for _, one := range p.processes {
		lab.Must(t, one.start(namespace))
	}
	p.WaitReady()
	return p
}

// Dir has a log of each process, NAME.log.
func (p *ControlPlane) Dir() string { return p.dir }

// Namespace is the network namespace that it runs in.
func (p *ControlPlane) Namespace() string { return p.namespace }

// Cluster is the one whose control plane this is.
func (p *ControlPlane) Cluster() *clusterconfig.Cluster { return p.cluster }

func (p *ControlPlane) writeKubeconfig() error {
	text, err := p.cluster.Kubeconfig("")
	if err != nil {
		return err
	}
	return os.WriteFile(p.Kubeconfig(), text, 0o600)
}

// Kubeconfig is the file with the administrator's, for the namespace.
func (p *ControlPlane) Kubeconfig() string { return filepath.Join(p.dir, "kubeconfig") }

// WaitReady waits until all processes that run say that they are ready.
func (p *ControlPlane) WaitReady() {
	p.t.Helper()
	client := p.client()
	end := time.Now().Add(readyBound)
	for _, one := range p.processes {
		if err := one.waitReady(client, end); err != nil {
			p.t.Fatalf("%s is not ready: %v", one.Name, err)
		}
	}
}

func (p *process) waitReady(client *http.Client, end time.Time) error {
	for {
		err := p.ready(client)
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-p.done:
			return errors.New("it has ended")
		case <-time.After(poll):
		}
	}
}

func (p *process) ready(client *http.Client) error {
	if p.Ready == "" || p.cmd == nil {
		return nil
	}
	response, err := client.Get(p.Ready)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	return fmt.Errorf("%s: %s", response.Status, text)
}

// client dials in the namespace.
func (p *ControlPlane) client() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // see Process.Ready
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return netns.Dial(ctx, p.namespace, network, address)
		},
	}}
}

// start starts the process.
func (p *process) start(namespace string) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// nsenter and not "ip netns exec", which would mount a /sys of its own.
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + namespace, "--"}, p.Argv...)...)
	cmd.Stdout, cmd.Stderr = log, log
	done, err := netns.StartBound(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// stop ends the process if it runs.
func (p *process) stop() {
	if p.cmd != nil {
		netns.Stop(p.cmd, p.done)
		p.cmd = nil
	}
}

func (p *ControlPlane) find(name string) *process {
	p.t.Helper()
	for _, one := range p.processes {
		if one.Name == name {
			return one
		}
	}
	p.t.Fatalf("there is no process %s", name)
	return nil
}

// Stop stops one of the processes, such as "kube-scheduler".
func (p *ControlPlane) Stop(name string) {
	p.t.Helper()
	p.find(name).stop()
}

// Start starts a process that was stopped, and waits until all are ready.
func (p *ControlPlane) Start(name string) {
	p.t.Helper()
	one := p.find(name)
	if one.cmd != nil {
		p.t.Fatalf("%s runs", name)
	}
	lab.Must(p.t, one.start(p.namespace))
	p.WaitReady()
}

// StopAPIServer takes the API server away. The others wait for it.
func (p *ControlPlane) StopAPIServer() {
	p.t.Helper()
	p.Stop("kube-apiserver")
}

// StartAPIServer brings it back.
func (p *ControlPlane) StartAPIServer() {
	p.t.Helper()
	p.Start("kube-apiserver")
}

// Log returns what a process has written so far.
func (p *ControlPlane) Log(name string) string {
	p.t.Helper()
	return lab.ReadFile(p.t, p.find(name).log)
}

// Kubectl runs kubectl as the administrator and returns what it printed. The
// test fails if kubectl does.
func (p *ControlPlane) Kubectl(args ...string) string {
	p.t.Helper()
	out, err := p.TryKubectl("", args...)
	lab.Must(p.t, err)
	return out
}

// TryKubectl is Kubectl with an input, and an error that says what it printed.
func (p *ControlPlane) TryKubectl(input string, args ...string) (string, error) {
	cmd := p.Command(context.Background(), args...)
	cmd.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// Command is kubectl as the administrator.
func (p *ControlPlane) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + p.namespace, "--", p.kubectl, "--kubeconfig", p.Kubeconfig()}, args...)...)
}

// ApplyAddOns applies the add-ons of the cluster, whose token is good for a day
// from now.
func (p *ControlPlane) ApplyAddOns() {
	p.t.Helper()
	text, err := p.cluster.AddOns()
	lab.Must(p.t, err)
	if _, err := p.TryKubectl(string(text), "apply", "-f", "-"); err != nil {
		p.t.Fatal(err)
	}
}

// end stops all processes, the last one first, and shows why the test failed.
func (p *ControlPlane) end() {
	var wait sync.WaitGroup
	for _, one := range p.processes[1:] {
		wait.Go(one.stop)
	}
	wait.Wait()
	p.processes[0].stop() // etcd, when nobody calls it any more
	if !p.t.Failed() {
		os.RemoveAll(p.dir)
		return
	}
	for _, one := range p.processes {
		p.t.Logf("the end of %s:\n%s", one.log, lab.Tail(p.Log(one.Name), logTail))
	}
}
