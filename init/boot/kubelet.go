package boot

import (
	"os"
	"path/filepath"
	"slices"

	"kios/init/supervise"
	"kios/internal/kubeletargs"
	"kios/internal/wholefile"
)

const kubeletName = "kubelet"

// kubelet returns the kubelet, or nil if it has not been started.
func (d *daemons) kubelet() *supervise.Daemon { return d.named(kubeletName) }

// kubeletIsGone reports whether the last kubelet has ended: announce has seen to it that
// no other is started.
func (n *Node) kubeletIsGone() bool {
	d := n.daemons.kubelet()
	return d != nil && d.Pid() == 0
}

func (n *Node) startKubelet() error {
	d, err := n.newDaemon(kubeletName, "kubelet")
	if err != nil {
		return err
	}
	t := n.tryFiles(d)
	d.Prepare = func() (argv, env []string) { return n.prepareKubelet(t, d.Restarts() > 0) }
	n.Log.Notice("node %s, %d MB of memory, %d CPUs", n.self.get().hostname, n.memory>>20, n.cpus)
	return n.startDaemon(d)
}

// prepareKubelet makes the kubelet's arguments. A kubelet that is started again
// finds what has changed in /etc since: that is how a pod configures a node.
func (n *Node) prepareKubelet(t *daemonTrial, again bool) (argv, env []string) {
	if again {
		for _, f := range []func() error{n.setHostname, n.writeHosts, n.ensureCertificate, n.writeDropIn} {
			if err := f(); err != nil {
				n.Log.Error("prepare the kubelet: %v", err)
			}
		}
	}
	etc := n.nextStart(t)
	argv, warnings := kubeletargs.Files{Root: "/", Etc: etc}.Args()
	for _, w := range warnings {
		n.once.Error("%s", w)
	}
	return argv, slices.Concat(environment("/bin", etcVariable+"="+etc), n.userEnvironment(etc, kubeletName), n.trust())
}

// writeDropIn writes the kubelet's configuration for this node.
func (n *Node) writeDropIn() error {
	if err := os.MkdirAll(kubeletargs.DropInDir, 0o700); err != nil {
		return err
	}
	pair := n.self.get().pair
	return wholefile.Volatile(filepath.Join(kubeletargs.DropInDir, "10-node.conf"), kubeletargs.DropIn(pair.Cert, pair.Key), 0o600)
}

// restartKubelet ends the kubelet, which is then started again. Its pods go on
// running.
func (n *Node) restartKubelet() {
	if d := n.daemons.kubelet(); d != nil {
		d.Restart(daemonBound)
	}
}

// joinCluster restarts the kubelet, which has found a good kubeconfig: it learns
// when it starts whether there is a cluster.
func (n *Node) joinCluster(sender, server string) {
	if sender != kubeletName {
		return
	}
	n.Log.Notice("the kubelet starts again, to join the cluster at %s", server)
	// Not in the goroutine that receives the kubelet's messages.
	n.spawn("join the cluster", n.restartKubelet)
}

// useProviders restarts the kubelet, which has found its credential providers good: it
// looks for them only when it starts.
func (n *Node) useProviders(sender string) {
	if sender != kubeletName {
		return
	}
	n.Log.Notice("the kubelet starts again, with its credential providers")
	n.spawn("credential providers", n.restartKubelet)
}

func (n *Node) stopKubelet() error { return stopDaemon(n.daemons.kubelet()) }
