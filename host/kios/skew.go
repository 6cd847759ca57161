package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/arch"
	"kios/host/gobuild"
	"kios/host/hosttool"
)

// skew is how many minor versions the kubelet is behind the newest Kubernetes:
// so far back that it fits clusters of three versions, and still maintained.
const skew = 2

func newSkewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "skew",
		Short: "Check that the kubelet is two minor versions behind the newest Kubernetes",
		Long: `Asks the Go module proxy for the newest Kubernetes. Fails if the kubelet of kiOS is
not two minor versions behind it, or if the control plane that "kios cluster up"
builds does not have the newest minor version.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSkew(cmd.Context()) },
	}
}

func runSkew(ctx context.Context) error {
	b, err := checkout(arch.Host())
	if err != nil {
		return err
	}
	newest, err := newestKubernetes(ctx, b.Root)
	if err != nil {
		return err
	}
	kubelet, err := kubeletVersion(ctx, b.Root)
	if err != nil {
		return err
	}
	controlPlane, err := b.NewestControlPlane()
	if err != nil {
		return err
	}
	fmt.Printf("newest Kubernetes %s, our kubelet %s, our newest control plane %s\n", newest, kubelet, controlPlane)
	return errors.Join(
		checkMinor("kubelet (upstream/kubelet/go.mod)", kubelet, newest, skew),
		checkMinor("control plane (upstream/controlplane/go.mod)", controlPlane, newest, 0))
}

// checkMinor fails unless a version is so many minor versions behind newest.
func checkMinor(what, version, newest string, behind int) error {
	have, err := minor(version)
	if err != nil {
		return err
	}
	top, err := minor(newest)
	if err != nil {
		return err
	}
	if top-have == behind {
		return nil
	}
	return fmt.Errorf("the %s is %s, %d minor versions behind %s, but must be %d behind: change it to v1.%d (HACKING.md, \"Bump an upstream\")",
		what, version, top-have, newest, behind, top-behind)
}

// minor returns the 37 of v1.37.2.
func minor(version string) (int, error) {
	parts := strings.Split(version, ".")
	if len(parts) != 3 || parts[0] != "v1" {
		return 0, fmt.Errorf("%q is not a version of Kubernetes", version)
	}
	return strconv.Atoi(parts[1])
}

func kubeletVersion(ctx context.Context, root string) (string, error) {
	for _, p := range gobuild.Upstream {
		if p.Name == "kubelet" {
			return p.Version(ctx, root)
		}
	}
	return "", errors.New("there is no kubelet among the upstream programs")
}

// newestKubernetes asks the module proxy for the newest release; pre-releases
// do not count.
func newestKubernetes(ctx context.Context, root string) (string, error) {
	cmd := hosttool.Exec(ctx, "go", "list", "-m", "-versions", "k8s.io/kubernetes")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask the Go module proxy for the versions of Kubernetes: %w (check the network and GOPROXY)", err)
	}
	return newestRelease(string(out))
}

// newestRelease picks from the output of go list -m -versions, which is in the
// order of the versions.
func newestRelease(list string) (string, error) {
	newest := ""
	for _, v := range strings.Fields(list) {
		if strings.HasPrefix(v, "v1.") && !strings.Contains(v, "-") {
			newest = v
		}
	}
	if newest == "" {
		return "", errors.New("the Go module proxy knows no release of Kubernetes")
	}
	return newest, nil
}
