// Kubernetes is the control plane in one program: the unmodified
// kube-apiserver, kube-controller-manager and kube-scheduler, the way their own
// mains start them, told apart by the first argument. One program instead of
// three is a third of the image, and its pages are in memory once.
//
// A fourth, kubelet-serving-approver, is ours: see package approver.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // logging.format: json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // rest_client_* metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"kios/upstream/controlplane/approver"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":           apiserver.NewAPIServerCommand,
	"kube-controller-manager":  controllermanager.NewControllerManagerCommand,
	"kube-scheduler":           func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet-serving-approver": approver.NewCommand,
}

func main() {
	waitFirst()
	// As /kube-apiserver (a link), or as /kubernetes kube-apiserver.
	program, found := programs[filepath.Base(os.Args[0])]
	if !found && len(os.Args) > 1 {
		program, found = programs[os.Args[1]]
		os.Args = os.Args[1:]
	}
	if !found {
		fmt.Fprintln(os.Stderr, "usage: kubernetes [--after=URL] kube-apiserver|kube-controller-manager|kube-scheduler|kubelet-serving-approver [FLAG]...")
		os.Exit(2)
	}
	os.Exit(cli.Run(program()))
}
