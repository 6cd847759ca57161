// Command clusterapi prints the user data that Cluster API gives a worker. It renders them
// with the code of Cluster API's bootstrap provider; only that provider's controller, which
// needs a management cluster, is left out: what it would fill in is in the input.
//
//	clusterapi --kubernetes-version v1.37.0 < worker.yaml
//
// The input is the spec of a KubeadmConfig, in the version v1beta2 of its API. The version of
// Kubernetes decides which version of kubeadm's API the node gets.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/blang/semver/v4"
	bootstrapv1 "sigs.k8s.io/cluster-api/api/bootstrap/kubeadm/v1beta2"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/cloudinit"
	"sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/ignition"
	kubeadmtypes "sigs.k8s.io/cluster-api/bootstrap/kubeadm/pkg/types"
	"sigs.k8s.io/yaml"
)

func main() {
	kubernetes := flag.String("kubernetes-version", "v1.37.0", "the `version` of the cluster")
	flag.Parse()
	spec, err := io.ReadAll(os.Stdin)
	if err == nil {
		var out []byte
		if out, err = Render(spec, *kubernetes); err == nil {
			_, err = os.Stdout.Write(out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "clusterapi:", err)
		os.Exit(1)
	}
}

// Render returns the user data for the spec of a KubeadmConfig.
func Render(text []byte, kubernetes string) ([]byte, error) {
	var spec bootstrapv1.KubeadmConfigSpec
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		return nil, err
	}
	version, err := semver.ParseTolerant(kubernetes)
	if err != nil {
		return nil, err
	}
	join, err := kubeadmtypes.MarshalJoinConfigurationForVersion(&spec.JoinConfiguration, version)
	if err != nil {
		return nil, err
	}
	node := &cloudinit.NodeInput{BaseUserData: base(spec, version), JoinConfiguration: join}
	if spec.Format == bootstrapv1.Ignition {
		data, _, err := ignition.NewNode(&ignition.NodeInput{NodeInput: node, Ignition: &spec.Ignition})
		return data, err
	}
	return cloudinit.NewNode(node)
}

// base is what user data have beside kubeadm's configuration. Parts that are not there are
// nil, as the controller has them.
func base(spec bootstrapv1.KubeadmConfigSpec, version semver.Version) cloudinit.BaseUserData {
	b := cloudinit.BaseUserData{
		BootCommands:        spec.BootCommands,
		PreKubeadmCommands:  spec.PreKubeadmCommands,
		PostKubeadmCommands: spec.PostKubeadmCommands,
		AdditionalFiles:     spec.Files,
		Users:               spec.Users,
		Mounts:              spec.Mounts,
		KubernetesVersion:   version,
	}
	if spec.NTP.IsDefined() {
		b.NTP = &spec.NTP
	}
	if spec.DiskSetup.IsDefined() {
		b.DiskSetup = &spec.DiskSetup
	}
	if spec.Verbosity != nil {
		b.KubeadmVerbosity = fmt.Sprintf("--v %d", *spec.Verbosity)
	}
	return b
}
