package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/kubernetes/pkg/cluster/ports"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	netutils "k8s.io/utils/net"
)

// corrector finds fields that must be otherwise than the files together have them. It
// changes the configuration as it goes, so that each step sees what the others did.
type corrector struct {
	*checker
	kc      *config.KubeletConfiguration
	machine Machine
	say     func(format string, args ...any)
}

// correct adds to the last word what this node cannot or must not do.
func (c *checker) correct(joined bool, say func(format string, args ...any)) error {
	kc, err := c.final()
	if err != nil {
		return err
	}
	o := &corrector{checker: c, kc: kc, say: say}
	if err := o.pair(); err != nil {
		return err
	}
	o.access(joined)
	o.limits()
	o.systemImages()
	var known bool
	if o.machine, known = c.sys.Machine(); !known {
		return nil
	}
	for _, step := range []func() error{o.pods, o.kernel, o.ports, o.reserves, o.managers} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// set gives a field its last word. The kubelet's configuration is read again, so that
// later steps work on what the kubelet will have.
func (o *corrector) set(fields map[string]any) error {
	for name, value := range fields {
		o.last[name] = value
	}
	kc, err := o.final()
	if err == nil {
		o.kc = kc
	}
	return err
}

// from names the file that has set a field, for the front of a line.
func (o *corrector) from(names ...string) string {
	for _, name := range names {
		if file := o.said[name]; file != "" {
			return file + ": "
		}
	}
	return ""
}

// access closes what needs an API server while there is none, and opens nothing that the
// cluster would not. None of it is a user's mistake.
func (o *corrector) access(joined bool) {
	kc, fields := o.kc, o.last
	if !joined && (kc.Authentication.Webhook.Enabled || kc.Authorization.Mode == config.KubeletAuthorizationModeWebhook) {
		// There is no API server to ask yet, and a kubelet that is to ask one
		// does not start. Who wants it asked would not want the port without.
		fields["authentication"] = map[string]any{"webhook": map[string]any{"enabled": false}}
		fields["authorization"] = map[string]any{"mode": config.KubeletAuthorizationModeAlwaysAllow}
		fields["enableServer"] = false
	}
	// A file that was good before the node joined must not let the cluster's other
	// nodes into its pods.
	if joined && kc.Authorization.Mode == config.KubeletAuthorizationModeAlwaysAllow {
		o.say("authorization.mode is Webhook and not AlwaysAllow, now that there is an API server to ask who may use the kubelet's port")
		fields["authorization"] = map[string]any{"mode": config.KubeletAuthorizationModeWebhook}
	}
	switch {
	case !kc.ServerTLSBootstrap:
	case !joined:
		fields["serverTLSBootstrap"] = false // nobody signs
	case kc.TLSCertFile == o.own.TLSCertFile:
		// A certificate that is named is served in place of the one that the
		// cluster signs: crypto/tls prefers it when the client sends no server
		// name, and the API server sends none. Without the name, the kubelet
		// still finds init's pair in its --cert-dir, and serves that until the
		// cluster has signed one.
		fields["tlsCertFile"], fields["tlsPrivateKeyFile"] = "", ""
	}
}

// What the node's own pods need, the network among them.
const (
	leastPids  = 128  // threads of one pod: a Go program has some for each processor
	leastFiles = 4096 // open files of the kubelet, which has some for each pod
	leastPods  = 8    // five are the node's; package kubeletargs has this number, too

	leastTimeout = 30 * time.Second // for a sandbox, on a slow machine that boots
)

// limits raises limits with which the node's own pods, or the kubelet, would not work.
func (o *corrector) limits() {
	if o.kc.PodPidsLimit > 0 && o.kc.PodPidsLimit < leastPids {
		o.say("%spodPidsLimit is %d and not %d, which the node's own pods need", o.from("podPidsLimit"), leastPids, o.kc.PodPidsLimit)
		o.last["podPidsLimit"] = leastPids
	}
	if o.kc.MaxOpenFiles < leastFiles {
		o.say("%smaxOpenFiles is %d and not %d, which the kubelet needs", o.from("maxOpenFiles"), leastFiles, o.kc.MaxOpenFiles)
		o.last["maxOpenFiles"] = leastFiles
	}
	if d := o.kc.RuntimeRequestTimeout.Duration; d > 0 && d < leastTimeout {
		o.say("%sruntimeRequestTimeout is %s and not %s, in which no container would start", o.from("runtimeRequestTimeout"), leastTimeout, d)
		o.last["runtimeRequestTimeout"] = leastTimeout.String()
	}
	if o.kc.MaxPods < leastPods {
		o.say("%smaxPods is %d and not %d: the node's own pods count", o.from("maxPods"), leastPods, o.kc.MaxPods)
		o.last["maxPods"] = leastPods
	}
}

// ownImages matches the images of the node's own pods. No registry has them: the kubelet
// cannot pull one again to see whether a pod may use it, and the pod would never start.
const ownImages = "kios.local/*"

// systemImages takes the node's own images out of what the kubelet verifies.
func (o *corrector) systemImages() {
	policy := config.ImagePullCredentialsVerificationPolicy(o.kc.ImagePullCredentialsVerificationPolicy)
	list := o.kc.PreloadedImagesVerificationAllowlist
	switch {
	case policy != config.AlwaysVerify && policy != config.NeverVerifyAllowlistedImages, slices.Contains(list, ownImages):
		return
	case policy == config.AlwaysVerify:
		o.say("%simagePullCredentialsVerificationPolicy is %s for %s and not %s: no registry has the images of the node's own pods",
			o.from("imagePullCredentialsVerificationPolicy"), config.NeverVerifyAllowlistedImages, ownImages, policy)
		o.last["imagePullCredentialsVerificationPolicy"] = string(config.NeverVerifyAllowlistedImages)
	default:
		o.say("%spreloadedImagesVerificationAllowlist has %s, too: no registry has the images of the node's own pods",
			o.from("preloadedImagesVerificationAllowlist", "imagePullCredentialsVerificationPolicy"), ownImages)
	}
	o.last["preloadedImagesVerificationAllowlist"] = append(slices.Clone(list), ownImages)
}

// pods does for podsPerCore what limits does for maxPods.
func (o *corrector) pods() error {
	perCore, cpus := int(o.kc.PodsPerCore), max(o.machine.Info.NumCores, 1)
	if perCore == 0 || perCore*cpus >= leastPods {
		return nil
	}
	least := (leastPods + cpus - 1) / cpus
	o.say("%spodsPerCore is %d and not %d: the node's own pods count", o.from("podsPerCore"), least, perCore)
	return o.set(map[string]any{"podsPerCore": least})
}

// tunables are what a kubelet that is to protect them ends on when they are otherwise.
var tunables = map[string]int{
	sysctl.VMOvercommitMemory: sysctl.VMOvercommitMemoryAlways,
	sysctl.VMPanicOnOOM:       sysctl.VMPanicOnOOMInvokeOOMKiller,
	sysctl.KernelPanic:        sysctl.KernelPanicRebootTimeout,
	sysctl.KernelPanicOnOops:  sysctl.KernelPanicOnOopsAlways,
	sysctl.RootMaxKeys:        sysctl.RootMaxKeysSetting,
	sysctl.RootMaxBytes:       sysctl.RootMaxBytesSetting,
}

// kernel has the kubelet set the kernel's parameters where they are not what it would
// protect: somebody has set others, on the kernel's command line or in a file.
func (o *corrector) kernel() error {
	if !o.kc.ProtectKernelDefaults {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(tunables)) {
		want := tunables[name]
		if got, known := o.machine.Sysctl(name); known && got != want {
			o.say("%sprotectKernelDefaults is false and not true: %s is %d, and the kubelet wants %d", o.from("protectKernelDefaults"), name, got, want)
			return o.set(map[string]any{"protectKernelDefaults": false})
		}
	}
	return nil
}

// ports finds addresses and ports on which the kubelet cannot listen: it would end.
func (o *corrector) ports() error {
	if o.machine.Listen == nil || !o.kc.EnableServer && o.kc.ReadOnlyPort == 0 {
		return nil
	}
	if err := o.machine.Listen(net.JoinHostPort(o.kc.Address, "0")); err != nil {
		if err := o.listenOnAll(); err != nil {
			return err
		}
	}
	if o.kc.EnableServer && o.taken(o.kc.Port) {
		o.say("%sport %d is in use by another program: the kubelet's port is closed until it starts again", o.from("port"), o.kc.Port)
		if err := o.set(map[string]any{"enableServer": false}); err != nil {
			return err
		}
	}
	if p := o.kc.HealthzPort; p == o.kc.Port || p != 0 && p == o.kc.ReadOnlyPort {
		o.say("%shealthzPort is 0 and not %d, which is in use", o.from("healthzPort"), p)
		if err := o.set(map[string]any{"healthzPort": 0}); err != nil {
			return err
		}
	}
	if p := o.kc.ReadOnlyPort; p != 0 && (p == o.kc.Port || o.taken(p)) {
		o.say("%sreadOnlyPort is 0 and not %d, which is in use", o.from("readOnlyPort"), p)
		return o.set(map[string]any{"readOnlyPort": 0})
	}
	return nil
}

// closeTakenPort is for a node without files of the user's: there a pod may have taken
// the kubelet's port, and the kubelet would end as long as it has it.
func closeTakenPort(dropins string, log io.Writer) {
	err := listen(net.JoinHostPort("0.0.0.0", strconv.Itoa(ports.KubeletPort)))
	if !errors.Is(err, syscall.EADDRINUSE) {
		return
	}
	fmt.Fprintf(log, "kios: port %d is in use by another program: the kubelet's port is closed until it starts again\n", ports.KubeletPort)
	data, err := json.Marshal(withHead(map[string]any{"enableServer": false}))
	if err == nil {
		err = writeFile(filepath.Join(dropins, last), data)
	}
	if err != nil {
		fmt.Fprintf(log, "kios: the kubelet's port cannot be closed: %v\n", err)
	}
}

// listenOnAll is for an address that this node does not have. The kubelet would end, and
// with it the pod that gets the address.
func (o *corrector) listenOnAll() error {
	all := net.IPv4zero
	if netutils.ParseIPSloppy(o.kc.Address).To4() == nil {
		all = net.IPv6zero
	}
	o.say("%saddress is %s and not %s, which is no address of this node while the kubelet starts", o.from("address"), all, o.kc.Address)
	return o.set(map[string]any{"address": all.String()})
}

func (o *corrector) taken(port int32) bool {
	err := o.machine.Listen(net.JoinHostPort(o.kc.Address, strconv.Itoa(int(port))))
	return errors.Is(err, syscall.EADDRINUSE)
}
