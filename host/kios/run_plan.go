package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/diskimage"
	"kios/host/etccheck"
	"kios/host/hosttool"
	"kios/host/kubeletapi"
	"kios/host/pki"
	"kios/host/progress"
	"kios/host/qemu"
	"kios/internal/userfile"
)

// runPlan is what one run of a node needs on the host.
type runPlan struct {
	options runOptions
	arch    arch.Arch
	out     func(name string) string // a product of the build
	log     *progress.Log
	memory  int64
	ports   []qemu.Port

	dir     string    // the run's files
	remove  func()    // of them, unless they are kept
	expect  []podName // from the manifests
	noCNI   bool      // it is known that the node has no CNI configuration
	warning []string  // about the user's files

	instance string // what the machine is on EC2, or ""
}

// podName names a pod as its manifest does.
type podName struct{ namespace, name string }

// kubeletAccess is how the host proves itself to the kubelet; why is the reason
// why it cannot, or "".
type kubeletAccess struct {
	ca, cert, key []byte
	serverName    string
	why           string
}

// checkProducts finds out whether there is a QEMU with firmware, and whether the build has
// made what this run needs.
func (r *runPlan) checkProducts() error {
	direct := r.options.firmware == "direct"
	if err := cmp.Or(qemu.Installed(r.arch), qemu.FirmwareInstalled(r.arch, direct)); err != nil {
		return err
	}
	var names []string
	if r.options.disk == "" {
		names = append(names, "kios.efi")
	}
	if direct {
		names = append(names, "vmlinuz", "initrd", "cmdline")
	}
	if r.example() {
		names = append(names, "hello.tar")
	}
	for _, name := range names {
		if missing(r.out(name)) {
			return fmt.Errorf("%s does not exist; run kios build%s first", r.out(name), r.arch.Flag())
		}
	}
	return nil
}

// example reports whether the bundled pod is to run.
func (r *runPlan) example() bool {
	o := r.options
	return o.disk == "" && o.etc == "" && len(o.oci) == 0 && o.userData == ""
}

// probeKernel is any kernel of ours: a disk may be run without having built one.
func (r *runPlan) probeKernel() string {
	if kernel := r.out("vmlinuz"); !missing(kernel) {
		return kernel
	}
	return ""
}

// makeDir makes the directory for the run's files.
func (r *runPlan) makeDir() error {
	if r.options.keep == "" {
		dir, remove, err := cache.Scratch("run-")
		r.dir, r.remove = dir, remove
		return err
	}
	r.dir = r.options.keep
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("--keep %s: the directory is not empty, and kios overwrites nothing in it; name a new one", r.dir)
	}
	return nil
}

// cleanUp removes the run's files, but for the console's log of a run that went wrong.
func (r *runPlan) cleanUp(err error) error {
	if r.options.keep != "" {
		return err
	}
	defer r.remove()
	text, readErr := os.ReadFile(r.path("console.log"))
	if err == nil || readErr != nil || len(text) == 0 {
		return err
	}
	log, tempErr := os.CreateTemp("", "kios-console-*.log")
	if tempErr != nil {
		return err
	}
	_, writeErr := log.Write(text)
	if errors.Join(writeErr, log.Close()) != nil {
		return err
	}
	return fmt.Errorf("%w (console log: %s)", err, log.Name())
}

func (r *runPlan) path(name string) string { return filepath.Join(r.dir, name) }

// prepare makes the certificates and the disk.
func (r *runPlan) prepare(ctx context.Context) (kubeletAccess, error) {
	if r.options.disk != "" {
		if err := r.checkDisk(ctx); err != nil {
			return kubeletAccess{}, err
		}
		return r.givenAccess()
	}
	etc, oci, err := r.content()
	if err != nil {
		return kubeletAccess{}, err
	}
	if err := r.checkEtc(ctx, etc); err != nil {
		return kubeletAccess{}, err
	}
	access, extra, err := r.makeAccess(etc)
	if err != nil {
		return kubeletAccess{}, err
	}
	step := r.log.Start("make the node's disk")
	return access, step.End(diskimage.Create(ctx, diskimage.Options{
		EFI:    r.out("kios.efi"),
		Arch:   r.arch,
		Etc:    etc,
		OCI:    oci,
		Extra:  extra,
		Size:   4 << 30,
		Format: "raw",
		Out:    r.path("disk.img"),
		Note:   func(text string) { r.warning = append(r.warning, text) },
	}))
}

// checkDisk refuses a disk that no machine boots from, or only another one.
func (r *runPlan) checkDisk(ctx context.Context) error {
	disk := qemu.Disk{Path: r.options.disk}
	_, noTool := hosttool.Find("qemu-img")
	if noTool != nil && qemu.DetectFormat(disk.Path) != "raw" {
		r.warning = append(r.warning, fmt.Sprintf("it was not checked whether a machine boots from %s: %v", disk.Path, noTool))
		return nil
	}
	if err := disk.CheckBoot(ctx, r.dir, r.options.firmware == "direct"); err != nil {
		return fmt.Errorf("--disk %s: %w", disk.Path, err)
	}
	if err := diskimage.CheckArch(ctx, disk.Path, r.arch); err != nil {
		return fmt.Errorf("--disk %s: %w", disk.Path, err)
	}
	return nil
}

// content returns what goes on the disk: the user's files or the example.
func (r *runPlan) content() (etc string, oci []string, err error) {
	if !r.example() {
		return r.options.etc, r.options.oci, nil
	}
	etc = r.path("etc")
	manifest, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(r.out(""))), "pods/hello/hello.yaml"))
	if err != nil {
		return "", nil, fmt.Errorf("read the example pod: %w", err)
	}
	manifests := filepath.Join(etc, "kubernetes/manifests")
	if err := os.MkdirAll(manifests, 0o755); err != nil {
		return "", nil, err
	}
	return etc, []string{r.out("hello.tar")}, os.WriteFile(filepath.Join(manifests, "hello.yaml"), manifest, 0o644)
}

// checkEtc notes which pods to expect, and what is wrong with the user's files or what
// the node will say about them.
func (r *runPlan) checkEtc(ctx context.Context, etc string) error {
	if r.options.etc == "" {
		r.readEtc(etc)
		return nil
	}
	step := r.log.Start("check " + etc)
	return step.End(r.ask(ctx, etc))
}

func (r *runPlan) ask(ctx context.Context, etc string) error {
	node, err := etccheck.Open(ctx, r.out("kios.efi"), emulator)
	if err != nil {
		return err
	}
	defer node.Close()
	pods, err := node.SystemPods()
	if err != nil {
		return err
	}
	if err := etccheck.Check(etc, pods); err != nil {
		r.warning = strings.Split(err.Error(), "\n")
	}
	r.warning = append(r.warning, askNode(ctx, node, etc, etccheck.Machine{Memory: r.memory, CPUs: r.options.cpus})...)
	r.readEtc(etc)
	return ctx.Err()
}

// readEtc notes which pods to expect.
func (r *runPlan) readEtc(etc string) {
	if etc == "" {
		r.noCNI = true
		return
	}
	configs, _ := os.ReadDir(filepath.Join(etc, "cni/net.d"))
	r.noCNI = len(configs) == 0
	manifests := filepath.Join(etc, "kubernetes/manifests")
	entries, _ := os.ReadDir(manifests)
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue // the kubelet skips these, too
		}
		if name, ok := readManifest(filepath.Join(manifests, entry.Name())); ok {
			r.expect = append(r.expect, name)
		}
	}
}

// readManifest returns the pod of a manifest; what is wrong with one, the check says.
func readManifest(file string) (name podName, ok bool) {
	data, err := userfile.Read(file, userfile.Max)
	if err != nil {
		return podName{}, false
	}
	var pod struct {
		Kind     string
		Metadata struct{ Namespace, Name string }
	}
	if yaml.Unmarshal(data, &pod) != nil || pod.Kind != "Pod" || pod.Metadata.Name == "" {
		return podName{}, false
	}
	if pod.Metadata.Namespace == "" {
		pod.Metadata.Namespace = "default"
	}
	return podName{pod.Metadata.Namespace, pod.Metadata.Name}, true
}

// makeAccess makes an authority that lives for this run. The node answers only
// clients of /etc/kubernetes/pki/ca.crt, and takes the serving certificate that
// it finds.
func (r *runPlan) makeAccess(etc string) (kubeletAccess, map[string]diskimage.File, error) {
	if etc != "" && !missing(filepath.Join(etc, "kubernetes/pki/ca.crt")) {
		return kubeletAccess{why: "--etc has its own kubernetes/pki/ca.crt, so the node does not trust this command"}, nil, nil
	}
	ca, err := pki.NewCA("kios-run")
	if err != nil {
		return kubeletAccess{}, nil, err
	}
	client, err := ca.Client("kios-run", "system:masters")
	if err != nil {
		return kubeletAccess{}, nil, err
	}
	server, err := ca.Server("127.0.0.1", "localhost")
	if err != nil {
		return kubeletAccess{}, nil, err
	}
	files := map[string]diskimage.File{
		"meta/etc/kubernetes/pki/ca.crt":          {Data: ca.Cert(), Mode: 0o644},
		"data/lib/kubelet/pki/kubelet-server.crt": {Data: server.Cert, Mode: 0o644},
		"data/lib/kubelet/pki/kubelet-server.key": {Data: server.Key, Mode: 0o600},
	}
	access := kubeletAccess{ca: ca.Cert(), cert: client.Cert, key: client.Key}
	return access, files, r.keepAccess(access)
}

// keepAccess writes the client's side to files, for curl and the like.
func (r *runPlan) keepAccess(a kubeletAccess) error {
	if r.options.keep == "" {
		return nil
	}
	if err := os.MkdirAll(r.path("pki"), 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(r.path("pki/ca.crt"), a.ca, 0o600),
		os.WriteFile(r.path("pki/client.crt"), a.cert, 0o600),
		os.WriteFile(r.path("pki/client.key"), a.key, 0o600),
	)
}

func (r *runPlan) givenAccess() (kubeletAccess, error) {
	o := r.options
	if o.ca == "" {
		return kubeletAccess{why: "--disk was given without --ca, --client-cert and --client-key"}, nil
	}
	a := kubeletAccess{serverName: o.serverName}
	for _, f := range []struct {
		file string
		data *[]byte
	}{{o.ca, &a.ca}, {o.clientCert, &a.cert}, {o.clientKey, &a.key}} {
		data, err := os.ReadFile(f.file)
		if err != nil {
			return kubeletAccess{}, err
		}
		*f.data = data
	}
	return a, nil
}

// client returns nil if there is no way into the kubelet.
func (r *runPlan) client(a kubeletAccess, m *qemu.Machine) (*kubeletapi.Client, error) {
	if a.why != "" {
		return nil, nil
	}
	return kubeletapi.New(kubeletapi.Options{
		Addr:       m.Addr(kubeletapi.Port),
		ServerName: a.serverName,
		CA:         a.ca,
		Cert:       a.cert,
		Key:        a.key,
	})
}

// config describes the machine.
func (r *runPlan) config(accel qemu.Accel, onLine func(qemu.Line)) (qemu.Config, error) {
	cfg := qemu.Config{
		Arch:     r.arch,
		Memory:   r.memory,
		CPUs:     r.options.cpus,
		Forward:  r.ports,
		NoReboot: true, // a node that resets by itself has gone wrong
		Dir:      r.dir,
		OnLine:   onLine,
		Accel:    accel,
	}
	if r.options.disk != "" {
		cfg.Disks = []qemu.Disk{{Path: r.options.disk}}
	} else {
		cfg.Disks = []qemu.Disk{{Path: r.path("disk.img"), Format: "raw", Unsafe: true}}
	}
	if r.options.firmware == "uefi" {
		return cfg, nil
	}
	err := cfg.BootDirectly(r.out("vmlinuz"), r.out("initrd"), r.out("cmdline"))
	return cfg, err
}
