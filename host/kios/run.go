package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kios/host/console"
	"kios/host/diskimage"
	"kios/host/kubeletapi"
	"kios/host/qemu"
)

// minMemory is the least that "kios run" tries; a pod needs about 256 MiB.
const minMemory = 128 << 20

// runOptions are the flags of "kios run".
type runOptions struct {
	etc      string
	oci      []string
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
		Long: `Boots kiOS in QEMU, shows the boot as it happens, and then a table of the pods
and containers whenever it changes, read from the kubelet over mutual TLS with
certificates made for this run.

Without --etc and --oci it runs the bundled example pod. --etc DIR is copied over
the node's /etc: manifests of static pods go to DIR/kubernetes/manifests. --oci
names an image archive (docker save, or an OCI layout in a tar) for the node to
import. The disk made from them is thrown away at the end; --disk boots one that
"kios image" made instead, and changes it.

Ctrl-C presses the machine's power button and waits for it to switch off. A
second Ctrl-C cuts the power.

Guests run under KVM where that works and under QEMU's translator elsewhere,
which is some ten times slower. KIOS_ACCEL=kvm or tcg decides instead of the
probe.`,
		Example: `  kios run
  kios run --etc my-node/etc --oci my-image.tar
  kios run --memory 1G --forward 8080:80
  kios image --etc my-node/etc node.img && kios run --disk node.img`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runNode(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.etc, "etc", "", "`directory` to copy over the node's /etc")
	f.StringArrayVar(&o.oci, "oci", nil, "image `archive` for the node; may be repeated")
	f.StringVar(&o.disk, "disk", "", "boot this disk `image` (raw or qcow2) instead of a throw-away one")
	f.StringVar(&o.memory, "memory", "512M", "the machine's memory")
	f.IntVar(&o.cpus, "cpus", 2, "the machine's processors")
	f.StringVar(&o.firmware, "firmware", "uefi", "how to boot: uefi, as a real machine does, or direct, which is faster")
	f.StringArrayVar(&o.forward, "forward", nil, "forward `HOST:GUEST`, a TCP port of this machine's loopback, to the node")
	f.StringVar(&o.keep, "keep", "", "keep disk, logs and certificates in this new or empty `directory`")
	f.BoolVar(&o.exitWhenRunning, "exit-when-running", false, "switch the machine off as soon as all pods run")
	f.StringVar(&o.ca, "ca", "", "with --disk: `file` with the authority that signed the kubelet's certificate")
	f.StringVar(&o.clientCert, "client-cert", "", "with --disk: `file` with a certificate that the kubelet accepts")
	f.StringVar(&o.clientKey, "client-key", "", "with --disk: `file` with its key")
	f.StringVar(&o.serverName, "server-name", "", "with --disk: the `name` in the kubelet's certificate (default 127.0.0.1)")
	return cmd
}

// runNode is the whole of "kios run".
func runNode(ctx context.Context, o runOptions) error {
	memory, ports, err := o.check()
	if err != nil {
		return err
	}
	b, err := checkout("amd64")
	if err != nil {
		return err
	}
	r := runPlan{options: o, out: b.Out, log: b.Log, memory: memory, ports: ports}
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
func (o runOptions) check() (memory int64, ports []qemu.Port, err error) {
	if memory, err = diskimage.ParseSize(o.memory); err != nil {
		return 0, nil, fmt.Errorf("--memory: %w", err)
	}
	if ports, err = parseForwards(o.forward); err != nil {
		return 0, nil, err
	}
	hasCert := o.ca != "" && o.clientCert != "" && o.clientKey != ""
	anyCert := o.ca != "" || o.clientCert != "" || o.clientKey != "" || o.serverName != ""
	switch {
	case memory < minMemory:
		err = fmt.Errorf("--memory %s is too small: a node needs at least %d MiB, and 256 MiB with a pod", o.memory, minMemory>>20)
	case o.cpus < 1 || o.cpus > 64:
		err = fmt.Errorf("--cpus %d: it must be from 1 to 64", o.cpus)
	case o.firmware != "uefi" && o.firmware != "direct":
		err = fmt.Errorf("--firmware %s: it must be uefi or direct", o.firmware)
	case o.disk != "" && (o.etc != "" || len(o.oci) > 0):
		err = errors.New("--disk boots a disk as it is, so --etc and --oci have no place on it: give them to kios image when the disk is made")
	case o.disk == "" && anyCert:
		err = errors.New("--ca, --client-cert, --client-key and --server-name are for --disk: without it, certificates are made for the run")
	case anyCert && !hasCert:
		err = errors.New("--ca, --client-cert and --client-key go together")
	case o.exitWhenRunning && o.disk != "" && !hasCert:
		err = errors.New("--exit-when-running with --disk needs --ca, --client-cert and --client-key: only the kubelet knows whether all pods run")
	default:
		err = o.checkFiles()
	}
	return memory, ports, err
}

func (o runOptions) checkFiles() error {
	files := [][2]string{{"--disk", o.disk}, {"--ca", o.ca}, {"--client-cert", o.clientCert}, {"--client-key", o.clientKey}}
	for _, archive := range o.oci {
		files = append(files, [2]string{"--oci", archive})
	}
	for _, f := range files {
		if err := checkFile(f[1]); f[1] != "" && err != nil {
			return fmt.Errorf("%s: %w", f[0], err)
		}
	}
	if o.etc == "" {
		return nil
	}
	entries, err := os.ReadDir(o.etc)
	if err != nil {
		return fmt.Errorf("--etc: %w", err)
	}
	if len(entries) == 1 && entries[0].Name() == "etc" && entries[0].IsDir() {
		return fmt.Errorf("--etc %s holds only a directory etc: do you mean --etc %s?", o.etc, filepath.Join(o.etc, "etc"))
	}
	return nil
}

func checkFile(name string) error {
	st, err := os.Stat(name)
	if err == nil && st.IsDir() {
		return fmt.Errorf("%s is a directory: a file is expected", name)
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
			return nil, fmt.Errorf("--forward %s: write HOST:GUEST, two ports from 1 to 65535", text)
		}
		if slices.ContainsFunc(ports, func(q qemu.Port) bool { return q.Guest == p.Guest }) {
			return nil, fmt.Errorf("--forward %s: the node's port %d is forwarded already", text, p.Guest)
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
	accel, err := qemu.Probe(ctx, r.probeKernel())
	if err != nil {
		return err
	}
	w := newWatch(console.NewPrinter(os.Stdout), r)
	cfg, err := r.config(accel, w.line)
	if err != nil {
		return err
	}
	w.poweredOn = time.Now()
	m, err := qemu.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Kill()
	w.print.Note(m.Uptime(), "power on: %s memory, %d processors, %s, %s", r.options.memory, r.options.cpus, r.options.firmware, accelText(accel))
	api, err := r.client(access, m)
	if err != nil {
		return err
	}
	if api != nil {
		defer api.Close()
	}
	return w.follow(m, api, signals)
}

func accelText(a qemu.Accel) string {
	if a == qemu.KVM {
		return "KVM"
	}
	return "TCG (no usable KVM: slow)"
}
