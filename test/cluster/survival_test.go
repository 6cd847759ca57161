//go:build cluster

package cluster

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/machine"
)

// TestSurvival does to one node what happens to nodes. It takes a quarter of an
// hour, most of it waiting.
func TestSurvival(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	machine.NTP(t, e.name)
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		etc: with(noNetwork, standing, fetching("worker-1", "kios/network.yaml"),
			map[string]string{"kios/time.yaml": "servers: [" + gateway + "]\n"}),
	})
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.apply(hostPod("ordinary", n.name))
	u.ready("ordinary")
	for _, part := range []struct {
		name string
		run  func(*user, *node)
	}{
		{"AddressChange", func(u *user, n *node) { testAddressChange(u, n, o) }},
		{"APIServerAway", testAPIServerAway},
		{"RebootWhileCutOff", testRebootWhileCutOff},
		{"WrongClock", testWrongClock},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(e.admin(t), n) }) {
			return // what comes next counts on a node that is well
		}
	}
	n.powerOff(t)
}

// hostPod is a pod in the node's network, for nodes that have no other.
func hostPod(name, node string) string {
	return pod(name, node, `
  hostNetwork: true
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
`)
}

// container tells which container a pod has, and how often it was restarted.
func container(u *user, pod string) string {
	u.t.Helper()
	return u.field("pod/"+pod, "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}")
}

const away = 10 * time.Minute

// testAPIServerAway stops the API server for ten minutes.
func testAPIServerAway(u *user, n *node) {
	before := container(u, "ordinary")
	n.env.plane.StopAPIServer()
	start := time.Now()
	u.within(away+time.Minute, "ten minutes", func() error {
		if gone := time.Since(start); gone < away {
			return fmt.Errorf("%s are over", gone)
		}
		return nil
	})
	n.env.plane.StartAPIServer()
	back := time.Now()
	u.eventually("a heartbeat", func() error {
		renewed, err := u.try("get", "lease/"+n.name, "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}")
		if err != nil {
			return err
		}
		at, err := time.Parse(time.RFC3339, renewed)
		if err == nil && at.Before(back) {
			err = fmt.Errorf("the last one was at %s", renewed)
		}
		return err
	})
	u.t.Logf("the first heartbeat came %s after the API server was ready", time.Since(back).Round(time.Second))
	u.waitFor("node/"+n.name, "condition=Ready")
	if got := container(u, "ordinary"); got != before {
		u.t.Errorf("the pod's container was %s and is %s", before, got)
	}
	u.demand(n.probe(u.t, "cat", "/etc/hostname"), n.name)
}

// testAddressChange gives the node another address. It tells the cluster, and
// gets a certificate for it.
func testAddressChange(u *user, n *node, o *offers) {
	before := container(u, "ordinary")
	n.address = "10.79.0.99"
	o.set(n, "kios/network.yaml", networkFile(n.address))
	u.within(3*time.Minute+u.patience, "the new address", func() error {
		got, err := u.try("get", "node/"+n.name, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
		if err == nil && got != n.address {
			err = fmt.Errorf("the node's address is %q", got)
		}
		return err
	})
	u.within(3*time.Minute+u.patience, "a certificate for the new address", func() error {
		if _, err := n.env.curl("--cacert", u.file("ca.crt", n.env.ca), "https://"+n.address+":10250/healthz"); err != nil {
			return err
		}
		_, err := u.try("logs", "ordinary", "--tail=1")
		return err
	})
	if got := container(u, "ordinary"); got != before {
		u.t.Errorf("the pod's container was %s and is %s", before, got)
	}
}

// testRebootWhileCutOff boots the node where it cannot reach the API server: its
// static pods run. With the network the rest comes back.
func testRebootWhileCutOff(u *user, n *node) {
	bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")
	uid := u.field("pod/ordinary", "{.metadata.uid}")
	n.powerOff(u.t)
	n.cut()
	n.start(u.t)
	n.expect(u.t, `pod default/standing\S* container main started`)
	n.mend()
	rebooted(u, n, bootID)
	u.demand(n.probe(u.t, "cat", "/etc/hostname"), n.name)
	checkRunsAgain(u, n, "ordinary", uid)
}

// checkRunsAgain demands that a pod of before the boot runs, or, if the node's
// orderly end has ended it as well, that a new one does.
func checkRunsAgain(u *user, n *node, pod, uid string) {
	u.t.Helper()
	if phase := u.field("pod/"+pod, "{.status.phase}"); phase == "Failed" || phase == "Succeeded" {
		u.kubectl("delete", "pod/"+pod)
		u.apply(hostPod(pod, n.name))
	} else if got := u.field("pod/"+pod, "{.metadata.uid}"); got != uid {
		u.t.Errorf("pod %s is another one", pod)
	}
	u.ready(pod)
}

// testWrongClock boots the node in 1970: its certificates are not valid yet,
// until the pod "time" knows better.
func testWrongClock(u *user, n *node) {
	bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")
	n.powerOff(u.t)
	args := n.cfg.Args
	n.cfg.Args = append(slices.Clone(args), "-rtc", "base=1970-01-02T00:00:00")
	n.start(u.t)
	n.cfg.Args = args
	n.expect(u.t, `the clock says 1970-01-02, which is before this system was built`)
	rebooted(u, n, bootID)
	u.demand(n.probe(u.t, "cat", "/etc/hostname"), n.name)
}

// TestCertificates has a cluster whose certificates live for three minutes. The
// node renews them in time; when it was off for too long, it joins again.
func TestCertificates(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	const lifetime = 3 * time.Minute
	e := newEnv(t, clusterconfig.Config{NodeCertificates: lifetime})
	n := e.boot(setup{name: "worker-1", memory: 768, etc: with(noNetwork, standing)})
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	client, serving := n.certificate(u, "client"), n.certificate(u, "server")
	t.Run("Rotation", func(t *testing.T) {
		u := e.admin(t)
		for kind, first := range map[string]*x509.Certificate{"client": client, "server": serving} {
			u.within(10*time.Minute, "another certificate of the "+kind, func() error {
				if n.certificate(u, kind).SerialNumber.Cmp(first.SerialNumber) == 0 {
					return fmt.Errorf("it is the one that ends at %s", first.NotAfter)
				}
				return nil
			})
		}
		u.within(10*time.Minute, "an end of the first certificates", func() error { return over(client.NotAfter) })
		u.waitFor("node/"+n.name, "condition=Ready")
	})
	t.Run("ExpiredWhileOff", func(t *testing.T) {
		u := e.admin(t)
		bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")
		first, err := requests(u)
		lab.Must(t, err)
		n.powerOff(t)
		// It may have renewed its certificate as late as in its last second.
		off := time.Now()
		u.within(10*time.Minute, "an end of all certificates", func() error { return over(off.Add(lifetime)) })
		n.start(t)
		rebooted(u, n, bootID)
		again, err := requests(u)
		lab.Must(t, err)
		if now, then := bootstraps(again), bootstraps(first); now != then+1 {
			t.Errorf("the node has bootstrapped %d times, and %d before it was off", now, then)
		}
		u.eventually("the certificates", func() error { _, err := u.try("logs", "standing-"+n.name, "--tail=1"); return err })
	})
	n.powerOff(t)
}

// bootstraps counts the requests of those who had only a token.
func bootstraps(list []request) (n int) {
	for _, r := range list {
		if strings.HasPrefix(r.Spec.Username, "system:bootstrap:") {
			n++
		}
	}
	return n
}

func over(at time.Time) error {
	if left := time.Until(at); left > 0 {
		return fmt.Errorf("%s are left", left.Round(time.Second))
	}
	return nil
}

// certificate reads the certificate that the kubelet uses as a "client" or
// as a "server".
func (n *node) certificate(u *user, kind string) *x509.Certificate {
	u.t.Helper()
	var cert *x509.Certificate
	u.eventually("the certificate of the "+kind, func() error {
		text, err := u.try("exec", "-n", "kube-system", "probe-"+n.name, "--", "/probe", "cat", "/var/lib/kubelet/pki/kubelet-"+kind+"-current.pem")
		if err != nil {
			return err
		}
		for rest := []byte(text); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return errors.New("the file has no certificate")
			}
			if block.Type == "CERTIFICATE" {
				cert, err = x509.ParseCertificate(block.Bytes)
				return err
			}
		}
	})
	return cert
}
