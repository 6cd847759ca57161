package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/diskimage"
	"kios/host/hosttool"
	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/host/uki/ukitest"
	"kios/test/lab"
)

func TestRunOptionsCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	nested := filepath.Join(dir, "nested")
	userData, large := filepath.Join(dir, "user-data"), filepath.Join(dir, "large")
	lab.WriteFile(t, userData, "#cloud-config\n")
	lab.WriteFile(t, large, strings.Repeat("#", maxUserData+1))
	lab.Must(t, os.WriteFile(file, nil, 0o600))
	lab.Must(t, os.MkdirAll(filepath.Join(nested, "etc"), 0o700))
	for _, tt := range []struct {
		name   string
		change func(*runOptions)
		want   string // part of the error; "" for none
	}{
		{"defaults", func(*runOptions) {}, ""},
		{"memory is no size", func(o *runOptions) { o.memory = "abc" }, "--memory: size \"abc\""},
		{"memory too small", func(o *runOptions) { o.memory = "64M" }, "--memory 64M is too small: a machine of amd64 needs at least 128M"},
		{"memory without a unit", func(o *runOptions) { o.memory = "256" }, "--memory 256 bytes is too small"},
		{"no processor", func(o *runOptions) { o.cpus = 0 }, "--cpus 0"},
		{"firmware", func(o *runOptions) { o.firmware = "bios" }, "uefi or direct"},
		{"disk with etc", func(o *runOptions) { o.disk, o.etc = file, dir }, "kios image"},
		{"disk", func(o *runOptions) { o.disk = file }, ""},
		{"no such disk", func(o *runOptions) { o.disk = "/no/disk" }, "/no/disk"},
		{"disk is a directory", func(o *runOptions) { o.disk = dir }, "is a directory"},
		{"user data", func(o *runOptions) { o.userData = userData }, ""},
		{"no such user data", func(o *runOptions) { o.userData = "/no/data" }, "--user-data: "},
		{"no user data", func(o *runOptions) { o.userData = file }, "is empty: give a file"},
		{"too many user data", func(o *runOptions) { o.userData = large }, "compress it with gzip"},
		{"no such archive", func(o *runOptions) { o.oci = []string{"/no/archive"} }, "--oci /no/archive: there is no such file: give the output of docker save"},
		{"a layout", func(o *runOptions) { o.oci = []string{dir} }, ""},
		{"no such etc", func(o *runOptions) { o.etc = "/no/etc" }, "--etc /no/etc: there is no such directory: give one"},
		{"etc is a file", func(o *runOptions) { o.etc = file }, "--etc " + file + ": it is not a directory: give one"},
		{"etc above etc", func(o *runOptions) { o.etc = nested }, "did you mean --etc " + filepath.Join(nested, "etc")},
		{"certificate without a disk", func(o *runOptions) { o.ca = file }, "need --disk"},
		{"certificate without its key", func(o *runOptions) { o.disk, o.ca, o.clientCert = file, file, file }, "must be given together"},
		{"nobody to ask", func(o *runOptions) { o.disk, o.exitWhenRunning = file, true }, "needs --ca"},
		{"forward", func(o *runOptions) { o.forward = []string{"80"} }, "HOST:GUEST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := runOptions{memory: "512M", cpus: 2, firmware: "uefi"}
			tt.change(&o)
			_, _, err := o.check(arch.All[0])
			if tt.want == "" && err != nil {
				t.Errorf("check() = %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("check() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// The machine is of the architecture that is asked for, and so is what has to be there.
func TestRunOfEachArchitecture(t *testing.T) {
	dir := t.TempDir()
	for _, a := range arch.All {
		r := runPlan{options: runOptions{firmware: "uefi"}, arch: a, dir: dir, out: func(name string) string { return filepath.Join(dir, name) }}
		if cfg, err := r.config(qemu.TCG, nil); err != nil || cfg.Arch.Name != a.Name {
			t.Errorf("%s: a machine of %s, %v", a.Name, cfg.Arch.Name, err)
		}
		// QEMU is missing, or what the build makes: either is got for the architecture.
		if err := r.checkProducts(); err == nil || !strings.Contains(err.Error(), a.Flag()) {
			t.Errorf("%s: checkProducts = %v, want an error with %q", a.Name, err, a.Flag())
		}
	}
}

// A machine would look in vain for something to boot on a disk for others.
func TestRunOfADiskForAnother(t *testing.T) {
	for _, tool := range []string{"mkfs.vfat", "mmd", "mcopy", "mdir"} {
		if _, err := hosttool.Find(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	efi, disk := filepath.Join(dir, "kios.efi"), filepath.Join(dir, "disk.img")
	lab.Must(t, os.WriteFile(efi, ukitest.PE(arch.All[0].EFI.Machine, 0), 0o600))
	lab.Must(t, diskimage.Create(t.Context(), diskimage.Options{EFI: efi, NoData: true, Out: disk}))
	for _, a := range arch.All {
		r := runPlan{options: runOptions{disk: disk, firmware: "uefi"}, dir: t.TempDir(), arch: a}
		_, err := r.prepare(t.Context())
		if (err == nil) != (a.Name == arch.All[0].Name) || err != nil && !strings.Contains(err.Error(), "--disk "+disk+": it boots machines of "+arch.All[0].Name+", and not of "+a.Name) {
			t.Errorf("%s: prepare = %v", a.Name, err)
		}
	}
}

// Any file would be booted as a disk, and the firmware's shell would come after minutes.
func TestRunOfNoDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	lab.WriteFile(t, file, strings.Repeat("kiOS is an operating system.\n", 100))
	r := runPlan{options: runOptions{disk: file, firmware: "uefi"}, dir: t.TempDir()}
	if _, err := r.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "--disk "+file+": no machine boots from it, because it has no partition table") {
		t.Errorf("prepare = %v, want that this is no disk", err)
	}
}

// Without the program that reads it, a disk of another format is booted as it is.
func TestRunWithoutQemuImg(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	lab.WriteFile(t, file, "QFI\xfb")
	t.Setenv("PATH", t.TempDir())
	if _, err := hosttool.Find("qemu-img"); err == nil {
		t.Skip("qemu-img is where every program is looked for")
	}
	r := runPlan{options: runOptions{disk: file, firmware: "uefi"}, dir: t.TempDir()}
	_, err := r.prepare(t.Context())
	if err != nil || len(r.warning) != 1 || !strings.Contains(r.warning[0], "was not checked whether a machine boots from "+file) {
		t.Errorf("prepare = %v, with %q; want that the disk was not checked", err, r.warning)
	}
}

func TestParseForwards(t *testing.T) {
	got, err := parseForwards([]string{"8080:80", "2222:22"})
	want := []qemu.Port{{Guest: kubeletapi.Port}, {Host: 8080, Guest: 80}, {Host: 2222, Guest: 22}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("parseForwards = %v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "80", ":80", "80:", "0:80", "80:65536", "a:b", "1:2:3", "1:10250"} {
		if got, err := parseForwards([]string{text}); err == nil {
			t.Errorf("parseForwards(%q) = %v, want an error", text, got)
		}
	}
	if got, err := parseForwards([]string{"1:80", "2:80"}); err == nil {
		t.Errorf("parseForwards of one guest port twice = %v, want an error", got)
	}
}

func TestReadEtc(t *testing.T) {
	etc := t.TempDir()
	manifests := filepath.Join(etc, "kubernetes/manifests")
	lab.Must(t, os.MkdirAll(manifests, 0o700))
	for name, text := range map[string]string{
		"a.yaml":    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n",
		"b.json":    `{"kind": "Pod", "metadata": {"name": "b", "namespace": "other"}}`,
		"c.yaml":    "kind: Deployment\nmetadata:\n  name: c\n",
		"d.yaml":    "\tnot: [yaml",
		".ignored":  "x",
		"empty.yml": "",
	} {
		lab.Must(t, os.WriteFile(filepath.Join(manifests, name), []byte(text), 0o600))
	}
	lab.Must(t, syscall.Mkfifo(filepath.Join(manifests, "pipe.yaml"), 0o600)) // it is not waited for
	var r runPlan
	r.readEtc(etc)
	want := []podName{{"default", "a"}, {"other", "b"}}
	if diff := cmp.Diff(want, r.expect, cmp.AllowUnexported(podName{})); diff != "" {
		t.Errorf("expected pods (-want +got):\n%s", diff)
	}
	if !r.noCNI {
		t.Error("noCNI = false without cni/net.d")
	}
}

var powerOn = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

func running(name string, after time.Duration) kubeletapi.Container {
	return kubeletapi.Container{Name: name, Image: name + ":1", Ready: true, Running: &kubeletapi.Running{StartedAt: powerOn.Add(after)}}
}

func waiting(name, reason, message string) kubeletapi.Container {
	return kubeletapi.Container{Name: name, Image: name + ":1", Waiting: &kubeletapi.Waiting{Reason: reason, Message: message}}
}

func TestPodTable(t *testing.T) {
	pods := []kubeletapi.Pod{
		{Namespace: "default", Name: "hello-node", HostNetwork: true, Phase: "Running", Containers: []kubeletapi.Container{
			running("hello", 11400*time.Millisecond),
			{Name: "crash", Image: "crash:1", Restarts: 3, Terminated: &kubeletapi.Terminated{ExitCode: 2, Reason: "Error", FinishedAt: powerOn.Add(20 * time.Second)}},
		}},
		{Namespace: "default", Name: "lost-node", HostNetwork: true, Phase: "Pending",
			Init:       []kubeletapi.Container{{Name: "done", Terminated: &kubeletapi.Terminated{}}},
			Containers: []kubeletapi.Container{waiting("lost", "ErrImagePull", "no such\nhost")}},
		{Namespace: "default", Name: "plain-node", Phase: "Pending", Containers: []kubeletapi.Container{waiting("plain", "ContainerCreating", "")}},
	}
	const want = `NAMESPACE   POD          CONTAINER   IMAGE     STATE                        SINCE   RESTARTS
default     hello-node   hello       hello:1   running                      +11s    0
default     hello-node   crash       crash:1   exited 2                     +20s    3
default     lost-node    lost        lost:1    waiting: ErrImagePull        -       0
default     plain-node   plain       plain:1   waiting: ContainerCreating   -       0
default/hello-node: crash: Error
default/lost-node: lost: no such host
default/plain-node: ` + cniHint + "\n"
	if diff := cmp.Diff(want, podTable(pods, powerOn, true)); diff != "" {
		t.Errorf("podTable (-want +got):\n%s", diff)
	}
}

func TestAnyProblem(t *testing.T) {
	pod := func(c kubeletapi.Container) []kubeletapi.Pod {
		return []kubeletapi.Pod{{Phase: "Pending", Containers: []kubeletapi.Container{c}}}
	}
	for _, tt := range []struct {
		name  string
		pods  []kubeletapi.Pod
		noCNI bool
		want  bool
	}{
		{"on its way", pod(waiting("a", "ContainerCreating", "")), false, false},
		{"no network", pod(waiting("a", "ContainerCreating", "")), true, true},
		{"no image", pod(waiting("a", "ErrImagePull", "no such host")), false, true},
		{"running", pod(running("a", 0)), true, false},
		{"evicted", []kubeletapi.Pod{{Phase: "Failed", Reason: "Evicted"}}, false, true},
		{"nothing", nil, true, false},
	} {
		if got := anyProblem(tt.pods, tt.noCNI); got != tt.want {
			t.Errorf("%s: anyProblem = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestAllRun(t *testing.T) {
	hello := kubeletapi.Pod{Namespace: "default", Name: "hello-node", Node: "node", Containers: []kubeletapi.Container{running("hello", 0)}}
	network := kubeletapi.Pod{Namespace: "kube-system", Name: "network-node", Node: "node", Containers: []kubeletapi.Container{running("network", 0)}}
	late := network
	late.Containers = []kubeletapi.Container{{Name: "network"}}
	w := watch{plan: &runPlan{expect: []podName{{"default", "hello"}}}}
	for _, tt := range []struct {
		name string
		pods []kubeletapi.Pod
		want bool
	}{
		{"all", []kubeletapi.Pod{hello, network}, true},
		{"an expected one is not there yet", []kubeletapi.Pod{network}, false},
		{"another one does not run yet", []kubeletapi.Pod{hello, late}, false},
		{"none", nil, false},
	} {
		if got := w.allRun(tt.pods); got != tt.want {
			t.Errorf("%s: allRun = %t, want %t", tt.name, got, tt.want)
		}
	}
}
