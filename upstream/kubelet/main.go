// Kubelet is the unmodified kubelet of Kubernetes, the way its own main starts
// it, with one thing done first: the user's KubeletConfiguration files are
// checked, and only good ones are handed to the kubelet as drop-ins, because a
// kubelet that is given a bad one does not start at all.
package main

import (
	"context"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // logging.format: json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // rest_client_* metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	"k8s.io/kubernetes/cmd/kubelet/app"

	"kios/upstream/kubelet/userconfig"
)

func main() {
	userconfig.Check("/etc/kubernetes", os.Args[1:], os.Stderr)
	os.Exit(cli.Run(app.NewKubeletCommand(context.Background())))
}
