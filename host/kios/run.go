package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kios/host/arch"
	"kios/host/console"
	"kios/host/diskimage"
	"kios/host/kubeletapi"
	"kios/host/qemu"
)

// runOptions are the flags of "kios run".
type runOptions struct {
	arch     *archValue
	etc      string
	oci      []string
	userData string
	disk     string
	memory   string
	cpus     int
	firmware string
	forward  []string

	ca, clientCert, clientKey, serverName string

	keep            string
	exitWhenRunning bool
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Boot a node in a virtual machine and watch its pods",
		Long: `Boots kiOS in QEMU and shows the boot as it happens. Then it shows a table of the
pods and containers, and shows it again whenever it changes. The table is read from
the kubelet over mutual TLS, with certificates made for this run.

Without --etc and --oci it runs the bundled example pod. --etc and --oci are those of
"kios image": --etc DIR is laid over the node's /etc, so put manifests of static pods
into DIR/kubernetes/manifests; --oci names an image archive for the node to import, an
OCI layout or the output of "docker save", as a tar file, plain or compressed with gzip
or zstd. The disk made from these is deleted at the end. --disk boots a disk that "kios
image" made, and changes it. One without a partition to boot from is refused.

--user-data FILE shows what a node makes of user data, such as the NodeConfig of
EKS, #cloud-config or Ignition, without a cloud. The machine looks like one of EC2,
with a metadata service of its own and credentials that are made up. If FILE names a
cluster, the node tries to join it, and then asks that cluster who may see its pods:
from then on, only the console is shown. When the machine is off, the files are shown
that the node has made. docs/cloud has examples.

Ctrl-C presses the machine's power button and waits until the machine is off. A
second Ctrl-C cuts the power.

The machine runs under KVM if that works, and is emulated otherwise, which is some
ten times slower. Set KIOS_ACCEL to kvm or tcg to choose by hand. A machine of another
architecture than this one's (--arch) is always emulated.`,
		Example: `  kios run
  kios run --etc my-node --oci my-image.tar
  kios run --memory 1G --forward 8080:80
  kios run --user-data nodeconfig.yaml
  kios image --etc my-node node.img && kios run --disk node.img`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runNode(cmd.Context(), o)
		},
	}
	o.arch = archFlag(cmd, "architecture of the machine")
	o.add(cmd.Flags())
	return cmd
}

func (o *runOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.etc, "etc", "", "`directory` whose contents are laid over the node's /etc")
	f.StringArrayVar(&o.oci, "oci", nil, "image `archive` for the node to import; may be repeated")
	f.StringVar(&o.disk, "disk", "", "boot this disk `image` (raw or qcow2) instead of a temporary one")
	f.StringVar(&o.userData, "user-data", "", "boot a machine like one of EC2 that has this `file` as its user data")
	f.StringVar(&o.memory, "memory", "", "memory of the machine (default 512M, or 1G with --user-data)")
	f.IntVar(&o.cpus, "cpus", 2, "processors of the machine")
	f.StringVar(&o.firmware, "firmware", "uefi", "how to boot: uefi, which is what a real machine does, or direct, which is faster")
	f.StringArrayVar(&o.forward, "forward", nil, "forward a TCP port of this host's loopback interface to the node, as `HOST:GUEST`")
	f.StringVar(&o.keep, "keep", "", "keep the disk, logs and certificates in this new or empty `directory`")
	f.BoolVar(&o.exitWhenRunning, "exit-when-running", false, "switch the machine off once all pods run")
	f.StringVar(&o.ca, "ca", "", "with --disk: `file` with the CA that signed the kubelet's certificate")
	f.StringVar(&o.clientCert, "client-cert", "", "with --disk: `file` with a client certificate that the kubelet accepts")
	f.StringVar(&o.clientKey, "client-key", "", "with --disk: `file` with the key of --client-cert")
	f.StringVar(&o.serverName, "server-name", "", "with --disk: `name` in the kubelet's certificate (default 127.0.0.1)")
	neverEmpty(f, "etc", "oci", "disk", "user-data", "keep", "ca", "client-cert", "client-key")
}

// runNode is the whole of "kios run".
func runNode(ctx context.Context, o runOptions) error {
	memory, ports, err := o.check(o.arch.Arch)
	if err != nil {
		return err
	}
	b, err := checkout(o.arch.Arch)
	if err != nil {
		return err
	}
	r := runPlan{options: o, arch: b.Arch, out: b.Out, log: b.Log, memory: memory, ports: ports}
	if err := r.checkProducts(); err != nil {
		return err
	}
	if err := r.makeDir(); err != nil {
		return err
	}
	// The signals are taken before the machine starts, so that none is lost
	// between the end of the preparation, which ctx ends, and the watching.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, interrupts()...)
	defer signal.Stop(signals)

	err = r.run(ctx, signals)
	return r.cleanUp(err)
}

// check finds flags that are wrong or contradict each other.
func (o runOptions) check(a arch.Arch) (memory int64, ports []qemu.Port, err error) {
	if memory, err = diskimage.ParseSize(o.memoryOrDefault()); err != nil {
		return 0, nil, fmt.Errorf("--memory: %w", err)
	}
	if ports, err = parseForwards(o.forward); err != nil {
		return 0, nil, err
	}
	hasCert := o.ca != "" && o.clientCert != "" && o.clientKey != ""
	anyCert := o.ca != "" || o.clientCert != "" || o.clientKey != "" || o.serverName != ""
	switch {
	case memory < a.QEMU.MinMemory:
		err = fmt.Errorf("--memory %s is too small: a machine of %s needs at least %s, and more for pods (docs/node.md)",
			diskimage.FormatSize(memory), a.Name, diskimage.FormatSize(a.QEMU.MinMemory))
	case o.cpus < 1 || o.cpus > 64:
		err = fmt.Errorf("--cpus %d: must be from 1 to 64", o.cpus)
	case o.firmware != "uefi" && o.firmware != "direct":
		err = fmt.Errorf("--firmware %s: must be uefi or direct", o.firmware)
	case o.disk != "" && (o.etc != "" || len(o.oci) > 0):
		err = errors.New("--disk cannot be combined with --etc or --oci: it boots a disk as it is; give these flags to kios image when you make the disk")
	case o.disk == "" && anyCert:
		err = errors.New("--ca, --client-cert, --client-key and --server-name need --disk; without it, certificates are made for the run")
	case anyCert && !hasCert:
		err = errors.New("--ca, --client-cert and --client-key must be given together")
	case o.exitWhenRunning && o.disk != "" && !hasCert:
		err = errors.New("--exit-when-running with --disk needs --ca, --client-cert and --client-key: only the kubelet knows whether all pods run")
	default:
		err = o.checkFiles()
	}
	return memory, ports, err
}

func (o runOptions) checkFiles() error {
	for _, f := range [][2]string{{"--disk", o.disk}, {"--ca", o.ca}, {"--client-cert", o.clientCert}, {"--client-key", o.clientKey}} {
		if err := checkFile(f[1]); f[1] != "" && err != nil {
			return fmt.Errorf("%s: %w", f[0], err)
		}
	}
	if err := checkUserData(o.userData); err != nil {
		return err
	}
	return checkInputs(o.etc, o.oci)
}

// memoryOrDefault is more on EC2: nodes of EKS keep some for themselves.
func (o runOptions) memoryOrDefault() string {
	switch {
	case o.memory != "":
		return o.memory
	case o.userData != "":
		return "1G"
	}
	return "512M"
}

func checkFile(name string) error {
	st, err := os.Stat(name)
	if err == nil && st.IsDir() {
		return fmt.Errorf("%s is a directory, not a file", name)
	}
	return err
}

// parseForwards reads HOST:GUEST pairs.
func parseForwards(texts []string) ([]qemu.Port, error) {
	ports := []qemu.Port{{Guest: kubeletapi.Port}}
	for _, text := range texts {
		host, guest, ok := strings.Cut(text, ":")
		p := qemu.Port{Host: port(host), Guest: port(guest)}
		if !ok || p.Host == 0 || p.Guest == 0 {
			return nil, fmt.Errorf("--forward %s: write it as HOST:GUEST, two ports from 1 to 65535", text)
		}
		if slices.ContainsFunc(ports, func(q qemu.Port) bool { return q.Guest == p.Guest }) {
			return nil, fmt.Errorf("--forward %s: port %d of the node is already forwarded", text, p.Guest)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func port(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 65535 {
		return 0
	}
	return n
}

// run prepares the machine, boots it, and follows it to its end.
func (r *runPlan) run(ctx context.Context, signals <-chan os.Signal) error {
	access, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	accel, err := qemu.Probe(ctx, r.arch, r.probeKernel())
	if err != nil {
		return err
	}
	w := newWatch(console.NewPrinter(os.Stdout), r)
	cfg, err := r.config(accel, w.line)
	if err != nil {
		return err
	}
	if r.options.userData != "" {
		stop, err := r.startEC2(&cfg)
		if err != nil {
			return err
		}
		defer stop()
	}
	w.poweredOn = time.Now()
	m, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Kill()
	w.print.Note(m.Uptime(), "power on: %s memory, %d processors, %s, %s", r.options.memoryOrDefault(), r.options.cpus, r.options.firmware, r.accelText(ctx, accel))
	api, err := r.client(access, m)
	if err != nil {
		return err
	}
	if api != nil {
		defer api.Close()
	}
	if r.instance != "" {
		w.print.Note(m.Uptime(), "on EC2: %s", r.instance)
	}
	err = w.follow(m, api, signals)
	r.showEtc(context.WithoutCancel(ctx), w.print.Block)
	return err
}

func (r *runPlan) accelText(ctx context.Context, accel qemu.Accel) string {
	if accel == qemu.KVM {
		return "KVM"
	}
	return "TCG, which is slow: " + qemu.WhyEmulated(ctx, r.arch, r.probeKernel())
}
