package build

// source is where a file of the root comes from.
type source string

const (
	fromKiOS       source = "kiOS"
	fromContainerd source = "containerd"
	fromRunc       source = "runc"
	fromKubernetes source = "Kubernetes"
	fromDebian     source = "Debian ca-certificates"
)

// licences of the sources, as SPDX expressions. The binaries also contain the
// modules that "kios inspect --json" lists for each.
var licences = map[source]string{
	fromKiOS:       "Apache-2.0",
	fromContainerd: "Apache-2.0",
	fromRunc:       "Apache-2.0 AND LGPL-2.1-only", // libseccomp is linked in
	fromKubernetes: "Apache-2.0",
	fromDebian:     "MPL-2.0",
}

// purposes says what every file and link of the root is there for; manifests of the
// system pods say so themselves. A file without a purpose fails the build.
var purposes = []struct {
	path    string
	from    source
	purpose string
}{
	{"/bin/init", fromKiOS, "PID 1; under its other names what the kubelet and the kernel call"},
	{"/bin/apparmor_parser", fromKiOS, "link to init: containerd takes it as the sign of AppArmor; profiles are compiled elsewhere"},
	{"/bin/blkid", fromKiOS, "link to init: the kubelet looks with it whether a volume is empty"},
	{"/bin/blockdev", fromKiOS, "link to init: the kubelet reads with it the size of a volume"},
	{"/bin/fsck", fromKiOS, "link to init: the kubelet checks ext4 volumes with it"},
	{"/bin/iscsiadm", fromKiOS, "link to init: the kubelet gets the answer that there is none"},
	{"/bin/losetup", fromKiOS, "link to init: the kubelet holds raw block volumes with it"},
	{"/bin/mkfs.btrfs", fromKiOS, "link to init: the kubelet gets the answer that there is none"},
	{"/bin/mkfs.ext2", fromKiOS, "link to init: the kubelet formats volumes with it"},
	{"/bin/mkfs.ext3", fromKiOS, "link to init: the kubelet formats volumes with it"},
	{"/bin/mkfs.ext4", fromKiOS, "link to init: the kubelet formats volumes with it"},
	{"/bin/mkfs.xfs", fromKiOS, "link to init: the kubelet gets the answer that there is none"},
	{"/bin/resize2fs", fromKiOS, "link to init: the kubelet grows ext4 volumes with it"},
	{"/bin/xfs_growfs", fromKiOS, "link to init: the kubelet grows XFS volumes with it"},
	{"/bin/mount", fromKiOS, "link to init: the kubelet mounts volumes with it"},
	{"/bin/umount", fromKiOS, "link to init: the kubelet unmounts volumes with it"},
	{"/bin/modprobe", fromKiOS, "link to init: the kernel asks for drivers with it"},
	{"/bin/poweroff", fromKiOS, "link to init: the kernel asks PID 1 with it to power off, as Hyper-V and the temperature want"},
	{"/bin/reboot", fromKiOS, "link to init: the kernel asks PID 1 with it to restart, as Hyper-V wants"},
	{"/bin/containerd", fromContainerd, "container runtime; imports the bundled images at its start"},
	{"/bin/containerd-shim-runc-v2", fromContainerd, "one process a pod: keeps its containers when containerd restarts"},
	{"/bin/runc", fromRunc, "creates and starts containers; runs no longer than that takes"},
	{"/bin/kubelet", fromKubernetes, "runs the pods of the manifests and of the cluster"},
	{"/sbin", fromKiOS, "link to bin: some programs look for modprobe here"},

	{"/usr/bin", fromKiOS, "link to bin, where most systems have their programs"},
	{"/usr/lib/modules", fromKiOS, "link to lib/modules, for pods that look here for the kernel's modules"},
	{"/usr/sbin", fromKiOS, "link to bin, where most systems have their programs"},

	{"/etc/group", fromKiOS, "names of the groups 0 and 65534; programs want the file"},
	{"/etc/hosts", fromKiOS, "localhost; init adds the node's name"},
	{"/etc/nsswitch.conf", fromKiOS, "host names: first /etc/hosts, then DNS"},
	{"/etc/localtime", fromKiOS, "link to the time zone UTC: pods mount it"},
	{"/etc/os-release", fromKiOS, "link to /usr/lib/os-release"},
	{"/etc/passwd", fromKiOS, "names of the users 0 and 65534; the kubelet does not start without the file"},
	{"/etc/resolv.conf", fromKiOS, "link to what the pod network writes; the kubelet starts no pod without the file"},
	{"/etc/ssl/ca-bundle.pem", fromKiOS, "link to the certificates, at the first kiOS' path"},
	{"/etc/ssl/certs/ca-certificates.crt", fromDebian, "certificate authorities that image pulls trust"},

	{"/etc/timezone", fromKiOS, "the name of the time zone: pods mount it, as on Debian"},

	{"/usr/lib/os-release", fromKiOS, "name and version of the system, for the kubelet and for tools"},
	{"/usr/share/zoneinfo/UTC", fromKiOS, "the time zone of the node, as /etc/localtime"},
	{"/usr/share/kios/apparmor/cri-containerd.apparmor.d", fromKiOS, "containerd's AppArmor profile of containers, compiled; init loads it"},
	{"/usr/share/kios/containerd.toml", fromKiOS, "containerd's configuration, if the user brings none"},
	{"/usr/share/kios/kubelet.yaml", fromKiOS, "the kubelet's defaults, below the user's configuration"},
	{"/usr/share/kios/manifest.json", fromKiOS, "this list"},
}

// processes are those of a running node that are in no container.
var processes = []struct{ name, path, purpose string }{
	{"init", "/bin/init", "PID 1: starts, watches and stops the other two"},
	{"containerd", "/bin/containerd", "container runtime"},
	{"kubelet", "/bin/kubelet", "the node's agent"},
	{"containerd-shim", "/bin/containerd-shim-runc-v2", "one for each pod; the system pods share one"},
}
