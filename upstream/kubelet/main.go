// Kubelet is the unmodified kubelet of Kubernetes, the way its own main starts
// it. First, this main checks the files that a user or a pod has put on the node:
// kubeconfigs, KubeletConfiguration and credential providers. It hands only good
// ones to the kubelet, because a kubelet that is given a bad one does not start.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // logging.format: json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // rest_client_* metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/kubernetes/cmd/kubelet/app"

	"kios/upstream/kubelet/args"
	"kios/upstream/kubelet/defaults"
	"kios/upstream/kubelet/grace"
	"kios/upstream/kubelet/joining"
	"kios/upstream/kubelet/rejected"
	"kios/upstream/kubelet/userconfig"
)

func main() {
	if code, mine := userconfig.CheckProviders(os.Args); mine {
		os.Exit(code)
	}
	if code, mine := userconfig.CheckOnHost(os.Args, os.Stdout, os.Stderr); mine {
		os.Exit(code)
	}
	etc := userconfig.Etc()
	list := join(os.Args[1:])
	list = providers(list)
	node, _ := nodeutil.GetHostname("")
	list = userconfig.Flags(filepath.Join(etc, "kubernetes"), node, list, os.Stderr)
	configure(etc, list)
	os.Args = append(os.Args[:1], list...)
	go grace.Tell(say)
	time.AfterFunc(bootTime, saveMemory)
	os.Exit(cli.Run(app.NewKubeletCommand(context.Background())))
}

// bootTime is how long a boot takes at most, until its pods run.
const bootTime = 30 * time.Second

// saveMemory gives back the garbage of the boot, and collects more often from now on. In
// the boot itself processors are scarcer than memory.
func saveMemory() {
	debug.SetGCPercent(75)
	debug.FreeOSMemory()
}

// kubeletDir is where the kubelet keeps pods and its state.
const kubeletDir = "/var/lib/kubelet"

// configure fills the kubelet's drop-in directory, and puts aside what would not fit
// the configuration.
func configure(etc string, list []string) {
	dir := args.Value(list, "config-dir")
	if dir == "" {
		return // not as init starts it
	}
	m, err := defaults.This(kubeletDir)
	if err == nil {
		err = defaults.Write(dir, m)
	}
	if err != nil {
		say("the kubelet's own defaults for a machine are used: %v", err)
	}
	kc := userconfig.Check(filepath.Join(etc, "kubernetes"), list, userconfig.Node(), os.Stderr)
	userconfig.PutAside(kubeletDir, kc, userconfig.Node(), say)
}

// providers leaves out credential providers that are bad, and watches for others.
func providers(list []string) []string {
	left, used := userconfig.Providers(list, os.Stderr)
	go func() {
		if userconfig.AwaitProviders(context.Background(), list, used, say) {
			notify("credential-providers")
		}
	}()
	return left
}

// join finds out which cluster the node belongs to, and watches for one if there
// is none yet. It returns the command line for what it found.
func join(list []string) []string {
	files := joining.Files{
		Kubeconfig: args.Value(list, "kubeconfig"),
		Bootstrap:  args.Value(list, "bootstrap-kubeconfig"),
		CertDir:    args.Value(list, "cert-dir"),
		ClientCA:   "/etc/kubernetes/pki/ca.crt",
	}
	node, err := nodeutil.GetHostname("")
	if err != nil || files.Kubeconfig == "" || files.CertDir == "" {
		return list // not as init starts it
	}
	say := joining.Say(say).Once()
	member := files.Prepare(node, say)
	if err := member.WriteDropIn(args.Value(list, "config-dir")); err != nil {
		say("%v", err)
	}
	go func() {
		if better, ok := files.Watch(context.Background(), member, node, say); ok {
			notify("joining\nX_KIOS_CLUSTER=" + better.Server)
		}
	}()
	if member.Server != "" {
		t := rejected.Teller{File: rejected.File, Node: node, Create: rejected.InCluster(files.Kubeconfig), Say: say}
		go t.Run(context.Background())
	}
	return member.Args(list)
}

// notify asks init for a new start of the kubelet, for a reason that init knows.
func notify(reason string) {
	if _, err := daemon.SdNotify(false, "X_KIOS_EVENT="+reason); err != nil {
		say("cannot tell init to restart the kubelet: %v", err)
	}
}

// say prints a line that init repeats in the kernel's log.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "kios: "+format+"\n", args...)
}
