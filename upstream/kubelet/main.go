// Kubelet is the unmodified kubelet of Kubernetes, the way its own main starts
// it. First, this main checks the files that a user or a pod has put on the node:
// kubeconfigs, KubeletConfiguration and credential providers. It hands only good
// ones to the kubelet, because a kubelet that is given a bad one does not start.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // logging.format: json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // rest_client_* metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/kubernetes/cmd/kubelet/app"

	"kios/upstream/kubelet/args"
	"kios/upstream/kubelet/grace"
	"kios/upstream/kubelet/joining"
	"kios/upstream/kubelet/userconfig"
)

func main() {
	if code, mine := userconfig.CheckProviders(os.Args); mine {
		os.Exit(code)
	}
	list := join(os.Args[1:])
	list = userconfig.Providers(list, os.Stderr)
	userconfig.Check("/etc/kubernetes", list, os.Stderr)
	os.Args = append(os.Args[:1], list...)
	go grace.Tell(say)
	os.Exit(cli.Run(app.NewKubeletCommand(context.Background())))
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
			restart(better)
		}
	}()
	return member.Args(list)
}

// restart asks init for a new start of the kubelet, into a cluster.
func restart(m joining.Membership) {
	if _, err := daemon.SdNotify(false, "X_KIOS_EVENT=joining\nX_KIOS_CLUSTER="+m.Server); err != nil {
		say("cannot tell init to restart the kubelet, which is needed to join %s: %v", m.Server, err)
	}
}

// say prints a line that init repeats in the kernel's log.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "kios: "+format+"\n", args...)
}
