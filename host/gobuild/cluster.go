package gobuild

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	kubernetes   = "k8s.io/kubernetes"
	controlPlane = "upstream/controlplane"
	flannel      = "github.com/flannel-io/flannel"
	cniPlugins   = "github.com/containernetworking/plugins"
)

// AddOns are the programs of a cluster that have versions of their own.
var AddOns = []Program{
	{
		Name:    "etcd",
		Dir:     "upstream/etcd",
		Package: ".",
		Module:  "go.etcd.io/etcd/server/v3",
		Tags:    "grpcnotrace",
	},
	{
		Name:    "coredns",
		Dir:     "upstream/coredns",
		Package: ".",
		Module:  "github.com/coredns/coredns",
		Tags:    "grpcnotrace",
	},
	{
		Name:    "flanneld",
		Dir:     "upstream/flannel",
		Package: ".",
		Module:  flannel,
		LDFlags: func(v string) string { return fmt.Sprintf("-X %s/pkg/version.Version=%s", flannel, v) },
	},
	cniPlugin("ptp", cniPlugins+"/plugins/main/ptp"),
	cniPlugin("host-local", cniPlugins+"/plugins/ipam/host-local"),
	cniPlugin("portmap", cniPlugins+"/plugins/meta/portmap"),
	cniPlugin("cni-nft", "./nft"),
}

// Kubeadm makes clusters that are not ours, for the tests of joining.
var Kubeadm = Program{
	Name:    "kubeadm",
	Dir:     "upstream/kubeadm",
	Package: kubernetes + "/cmd/kubeadm",
	Module:  kubernetes,
	Tags:    kubernetesTags,
	LDFlags: kubernetesVersion,
}

// ClusterAPI prints the user data that Cluster API gives a worker, for the tests of joining.
var ClusterAPI = Program{
	Name:    "clusterapi",
	Dir:     "upstream/clusterapi",
	Package: ".",
	Module:  "sigs.k8s.io/cluster-api",
}

// kubernetesTags are those of Kubernetes' release scripts.
const kubernetesTags = "selinux,notest,grpcnotrace"

// cniPlugin is one of the programs that containerd runs for pods' networks, or
// that these run.
func cniPlugin(name, pkg string) Program {
	return Program{
		Name:    name,
		Dir:     "upstream/cni",
		Package: pkg,
		Module:  cniPlugins,
		LDFlags: func(v string) string {
			return fmt.Sprintf("-X %s/pkg/utils/buildversion.BuildVersion=%s", cniPlugins, v)
		},
	}
}

// ControlPlane returns the programs of a Kubernetes control plane of a version
// such as "v1.37.2", and what nodes and users need of that version.
func ControlPlane(root, version string) ([]Program, error) {
	modFiles, err := controlPlaneModFiles(root)
	if err != nil {
		return nil, err
	}
	modFile, found := modFiles[version]
	if !found {
		known, _ := ControlPlaneVersions(root)
		return nil, fmt.Errorf("no control plane of version %q can be built; choose one of %s", version, strings.Join(known, ", "))
	}
	var all []Program
	for _, name := range []string{"kubernetes", "kube-proxy", "kubectl"} {
		all = append(all, Program{
			Name:    name,
			Dir:     controlPlane,
			ModFile: modFile,
			Package: "./" + name,
			Module:  kubernetes,
			Tags:    kubernetesTags,
			LDFlags: kubernetesVersion,
		})
	}
	return all, nil
}

// ControlPlaneVersions are those that can be built, the newest first.
func ControlPlaneVersions(root string) ([]string, error) {
	modFiles, err := controlPlaneModFiles(root)
	if err != nil {
		return nil, err
	}
	var all []string
	for v := range modFiles {
		all = append(all, v)
	}
	slices.Sort(all) // v1.35.4, v1.36.3: as text, too, as long as minors have two digits
	slices.Reverse(all)
	return all, nil
}

// controlPlaneModFiles maps versions of Kubernetes to files in the module of
// the control plane: go.mod has the newest, v1.36.mod another one, and so on.
func controlPlaneModFiles(root string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(root, controlPlane, "*.mod"))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, file := range files {
		version, err := requiredVersion(file, kubernetes)
		if err != nil {
			return nil, err
		}
		all[version] = filepath.Base(file)
	}
	return all, nil
}

// requiredVersion reads the version of a module from a go.mod file.
func requiredVersion(file, module string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(strings.TrimPrefix(s.Text(), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", file, module)
}
