package diskimage

import (
	"bytes"
	"context"
	"debug/pe"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/host/hosttool"
	"kios/host/uki/ukitest"
	"kios/internal/gpt"
	"kios/test/lab"
)

func needTools(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := hosttool.Find(name); err != nil {
			t.Skip(err)
		}
	}
}

// writeFile writes a file below dir, with its directories.
func writeFile(t *testing.T, dir, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	lab.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	lab.Must(t, os.WriteFile(path, []byte(text), mode))
	lab.Must(t, os.Chmod(path, mode))
	return path
}

func exampleOptions(t *testing.T) Options {
	t.Helper()
	return optionsFor(t, arch.Host())
}

// optionsFor are those of a disk with an EFI file for an architecture.
func optionsFor(t *testing.T, a arch.Arch) Options {
	t.Helper()
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	writeFile(t, etc, "kubernetes/manifests/hello.yaml", "kind: Pod\n", 0o640)
	writeFile(t, etc, "a b", "space\n", 0o600)
	lab.Must(t, os.Symlink("../run/resolv.conf", filepath.Join(etc, "resolv.conf")))
	return Options{
		EFI:   writeFile(t, dir, "kios.efi", string(ukitest.PE(a.EFI.Machine, 0))+strings.Repeat("x", 100000), 0o600),
		Etc:   etc,
		OCI:   []string{writeArchive(t, dir, "one/hello.tar", ociArchive), writeArchive(t, dir, "two/hello.tar", ociArchive)},
		Extra: map[string]File{"data/lib/kubelet/pki/key": {Mode: 0o600, Data: []byte("secret")}},
		Size:  768 * mib,
		Out:   filepath.Join(dir, "disk.img"),
	}
}

// bootFile is the EFI file on a disk of exampleOptions.
var bootFile = "::/EFI/BOOT/" + arch.Host().EFI.Boot

// The EFI file says which machines a disk is for.
func TestCreateForEachArchitecture(t *testing.T) {
	for _, a := range arch.All {
		o := optionsFor(t, a)
		image := create(t, o)
		if out := output(t, "mdir", "-b", "-i", image+"@@1M", "::/EFI/BOOT"); strings.TrimSpace(out) != "::/EFI/BOOT/"+a.EFI.Boot {
			t.Errorf("%s: /EFI/BOOT has %s", a.Name, out)
		}
		for _, other := range arch.All {
			err := CheckArch(t.Context(), image, other)
			if (err == nil) != (other.Name == a.Name) || err != nil && !strings.Contains(err.Error(), "give --arch "+a.Name) {
				t.Errorf("a disk for %s in a machine of %s: %v", a.Name, other.Name, err)
			}
			o := optionsFor(t, a)
			o.Arch = other
			err = o.Check()
			if (err == nil) != (other.Name == a.Name) || err != nil && !strings.Contains(err.Error(), "is for "+a.Name+", and not for "+other.Name) {
				t.Errorf("a disk for %s of a file for %s: %v", other.Name, a.Name, err)
			}
		}
	}
	o := exampleOptions(t)
	lab.Must(t, CheckArch(t.Context(), o.EFI, arch.Host())) // no disk: let others say so
	lab.Must(t, os.WriteFile(o.EFI, ukitest.PE(pe.IMAGE_FILE_MACHINE_I386, 0), 0o600))
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "is for no machine that kiOS runs on") {
		t.Errorf("a disk of a file for i386: %v", err)
	}
}

func create(t *testing.T, o Options) string {
	t.Helper()
	needTools(t, "mkfs.vfat", "mmd", "mcopy", "mke2fs", "debugfs", "qemu-img")
	lab.Must(t, Create(context.Background(), o))
	return o.Out
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := hosttool.Find(name)
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// partition copies one partition to a file, for tools that know no offsets.
func partition(t *testing.T, image string, number int) string {
	t.Helper()
	f, err := os.Open(image)
	lab.Must(t, err)
	defer f.Close()
	info, _ := f.Stat()
	table, err := gpt.Read(f, sectorSize, uint64(info.Size()/sectorSize))
	lab.Must(t, err)
	p := table.Partitions[number-1]
	out := filepath.Join(t.TempDir(), "partition")
	copySparse(t, out, f, int64(p.FirstLBA)*sectorSize, int64(p.Sectors())*sectorSize)
	return out
}

// copySparse copies a part of in, skipping its holes: they are nearly all.
func copySparse(t *testing.T, out string, in *os.File, start, size int64) {
	t.Helper()
	f, err := os.Create(out)
	lab.Must(t, err)
	defer f.Close()
	for end := start; ; {
		data, err := in.Seek(end, unix.SEEK_DATA)
		if err != nil || data >= start+size { // ENXIO: only a hole is left
			break
		}
		if end, err = in.Seek(data, unix.SEEK_HOLE); err != nil {
			t.Fatal(err)
		}
		end = min(end, start+size)
		if _, err := io.Copy(io.NewOffsetWriter(f, data-start), io.NewSectionReader(in, data, end-data)); err != nil {
			t.Fatal(err)
		}
	}
	lab.Must(t, f.Truncate(size))
}

func TestCreate(t *testing.T) {
	o := exampleOptions(t)
	image := create(t, o)

	t.Run("sgdisk", func(t *testing.T) {
		out := output(t, "sgdisk", "-v", "-i", "2", image)
		for _, want := range []string{"No problems found", "97AAC693-D920-465A-94FE-EB59FC86DFAA"} {
			if !strings.Contains(out, want) {
				t.Errorf("sgdisk does not say %q:\n%s", want, out)
			}
		}
	})
	t.Run("EFI system partition", func(t *testing.T) {
		output(t, "fsck.vfat", "-n", partition(t, image, 1))
		out := filepath.Join(t.TempDir(), "efi")
		output(t, "mcopy", "-i", image+"@@1M", bootFile, out)
		got, _ := os.ReadFile(out)
		if want, _ := os.ReadFile(o.EFI); !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes that are not those of the EFI file", bootFile, len(got))
		}
	})
	t.Run("data partition", func(t *testing.T) { checkData(t, partition(t, image, 2)) })
	t.Run("sparse", func(t *testing.T) {
		info, err := os.Stat(image)
		lab.Must(t, err)
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != o.Size || used > 40*mib {
			t.Errorf("image has %d bytes, %d of them on disk", info.Size(), used)
		}
	})
	t.Run("no leftovers", func(t *testing.T) {
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(image), ".kios-image-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func checkData(t *testing.T, ext4 string) {
	output(t, "e2fsck", "-fn", ext4)
	for path, want := range map[string]string{
		"/":         "drwxr-xr-x root",
		"/meta":     "drwx------ root",
		"/meta/etc": "drwxr-xr-x root",
		"/meta/etc/kubernetes/manifests/hello.yaml": "-rw-r----- root",
		"/meta/etc/a b":             "-rw------- root",
		"/images/hello.tar":         "-rw-r--r-- root",
		"/images/hello-2.tar":       "-rw-r--r-- root",
		"/data/lib":                 "drwxr-xr-x root",
		"/data/lib/kubelet/pki":     "drwx------ root",
		"/data/lib/kubelet/pki/key": "-rw------- root",
	} {
		if got := statExt4(t, ext4, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := output(t, "debugfs", "-R", "cat /data/lib/kubelet/pki/key", ext4); !strings.Contains(got, "secret") {
		t.Errorf("key = %q", got)
	}
	if got := output(t, "debugfs", "-R", "stat /meta/etc/resolv.conf", ext4); !strings.Contains(got, `Fast link dest: "../run/resolv.conf"`) {
		t.Errorf("resolv.conf = %s", got)
	}
	if got := output(t, "debugfs", "-R", "features", ext4); !strings.Contains(got, "has_journal") {
		t.Errorf("features = %s", got)
	}
}

// statExt4 returns the mode and owner of a file as debugfs shows them.
func statExt4(t *testing.T, ext4, path string) string {
	t.Helper()
	out := output(t, "debugfs", "-R", `stat "`+path+`"`, ext4)
	fields := strings.Fields(out)
	var mode, kind, owner string
	for i, f := range fields[:len(fields)-1] {
		switch f {
		case "Type:":
			kind = map[string]string{"directory": "d", "regular": "-"}[fields[i+1]]
		case "Mode:":
			mode = fields[i+1]
		case "User:", "Group:":
			owner += fields[i+1]
		}
	}
	if owner == "00" {
		owner = "root"
	}
	var bits fs.FileMode
	for _, c := range mode {
		bits = bits<<3 | fs.FileMode(c-'0')
	}
	return kind + bits.String()[1:] + " " + owner
}

func TestCreateQcow2(t *testing.T) {
	o := exampleOptions(t)
	o.Format = "qcow2"
	image := create(t, o)
	out := output(t, "qemu-img", "info", image)
	if !strings.Contains(out, "file format: qcow2") || !strings.Contains(out, "768 MiB") {
		t.Errorf("qemu-img info says\n%s", out)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	output(t, "qemu-img", "convert", "-O", "raw", image, raw)
	output(t, "e2fsck", "-fn", partition(t, raw, 2))
}

// Check says how large the disk will be, and that is what people are told.
func TestCreateTheSizeThatCheckSays(t *testing.T) {
	for size, want := range map[int64]int64{0: DefaultSize, 700*mib + 5: 700 * mib, 700 * mib: 700 * mib} {
		o := exampleOptions(t)
		o.Size = size
		lab.Must(t, o.Check())
		info, err := os.Stat(create(t, o))
		lab.Must(t, err)
		if o.Size != want || info.Size() != want {
			t.Errorf("size %d: Check says %d, and the disk has %d; want %d", size, o.Size, info.Size(), want)
		}
	}
}

// The size of the disk must not change what the firmware reads.
func TestCreateLargeDisk(t *testing.T) {
	o := exampleOptions(t)
	o.Size = 64 << 30
	image := create(t, o)
	if out := output(t, "fsck.vfat", "-n", partition(t, image, 1)); strings.Contains(out, "FAT32") {
		t.Errorf("fsck.vfat says\n%s", out)
	}
	output(t, "mdir", "-i", image+"@@1M", bootFile)
}

func TestCreateLeavesFilesAlone(t *testing.T) {
	o := exampleOptions(t)
	writeFile(t, filepath.Dir(o.Out), "disk.img", "precious", 0o600)
	err := Create(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "disk.img already exists: remove it, or replace it with --force") {
		t.Errorf("error = %v", err)
	}
	if b, _ := os.ReadFile(o.Out); string(b) != "precious" {
		t.Error("the file was overwritten")
	}
	o.Force = true
	create(t, o)
	if info, _ := os.Stat(o.Out); info.Size() != o.Size {
		t.Error("the file was not replaced")
	}
	o.Out = "/dev/null"
	if err := Create(context.Background(), o); err == nil || !strings.Contains(err.Error(), "/dev/null exists and is not a regular file") {
		t.Errorf("device: error = %v", err)
	}
}

// An image is written neither over what it is made of, nor into a directory that it is
// made of, by whatever name.
func TestCreateOverItsInput(t *testing.T) {
	o := exampleOptions(t)
	dir := filepath.Dir(o.Out)
	lab.Must(t, os.Symlink("etc/kubernetes", filepath.Join(dir, "link")))
	t.Chdir(dir)
	for _, out := range []string{
		o.EFI, "kios.efi", "etc/../kios.efi", o.OCI[1], "etc/disk.img", "etc/kubernetes/new.img", "link/new.img",
	} {
		o.Out, o.Force = out, true
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), "write it to another place") {
			t.Errorf("Check with the image in %s = %v, want a refusal", out, err)
		}
	}
	for _, out := range []string{"new.img", "one/new.img", "etc.img"} {
		o.Out = out
		lab.Must(t, o.Check())
	}
}

// Nobody writes into a named pipe that was given in place of a file.
func TestCreateOfAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	lab.Must(t, unix.Mkfifo(pipe, 0o600))
	for name, set := range map[string]func(*Options){
		"EFI": func(o *Options) { o.EFI = pipe },
		"Etc": func(o *Options) { o.Etc = pipe },
		"OCI": func(o *Options) { o.OCI = append(o.OCI, pipe) },
	} {
		o := exampleOptions(t)
		set(&o)
		if err := Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), pipe+" is neither a file nor a directory") {
			t.Errorf("Create with a pipe as %s = %v", name, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(o *Options)
		want string
	}{
		{"too small", func(o *Options) { o.Size = 512 * mib }, "a size of 512M is too small: at least 579M is needed"},
		{"a unit was forgotten", func(o *Options) { o.Size = 579 }, "a size of 579 bytes is too small: at least 579M is needed"},
		{"almost a MiB", func(o *Options) { o.Size = mib - 1 }, "is too small: at least 579M is needed"},
		{"negative", func(o *Options) { o.Size = -1 }, "is too small: at least 579M is needed"},
		{"format", func(o *Options) { o.Format = "vmdk" }, `format "vmdk" is not known: use raw, qcow2 or ami-raw`},
		{"no EFI file", func(o *Options) { o.EFI = "/no/kios.efi" }, "EFI file /no/kios.efi does not exist; make it with kios build"},
		{"not EFI", func(o *Options) { os.WriteFile(o.EFI, []byte("text"), 0o600) }, "not an EFI file"},
		{"half an EFI file", func(o *Options) { os.Truncate(o.EFI, 0x700) }, "it is truncated; make one with kios build"},
		{"huge EFI", func(o *Options) { os.Truncate(o.EFI, 600*mib) }, "is too large: it has 600M, and the EFI system partition has 512M"},
		{"no directory", func(o *Options) { o.Out = "/no/such/dir/disk" }, "there is no directory /no/such/dir"},
		{"no etc", func(o *Options) { o.Etc = "/no/etc" }, "/no/etc: no such file"},
		{"bad archive", func(o *Options) { o.OCI = []string{o.EFI} }, "is not a tar file"},
		{"extra outside", func(o *Options) { o.Extra = map[string]File{"../x": {}} }, `extra file "../x" is not a path below`},
		{"etc and no data partition", func(o *Options) { o.OCI, o.Extra, o.NoData = nil, nil, true }, "which --no-data-partition leaves out"},
		{"images and no data partition", func(o *Options) { o.Etc, o.Extra, o.NoData = "", nil, true }, "which --no-data-partition leaves out"},
		{"to join and no data partition", func(o *Options) { o.Etc, o.OCI, o.NoData = "", nil, true }, "which --no-data-partition leaves out"},
		{"too small without data", func(o *Options) { o.Etc, o.OCI, o.Extra, o.NoData, o.Size = "", nil, nil, true, 513*mib }, "at least 514M is needed"},
		{"socket", func(o *Options) { mkfifo(o.Etc) }, "fifo is neither a file, a directory nor a symbolic link"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := exampleOptions(t)
			tt.edit(&o)
			err := Create(context.Background(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
			if _, err := os.Stat(o.Out); err == nil {
				t.Error("a file was written")
			}
		})
	}
}

func mkfifo(dir string) { syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600) }

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"4G": 4 << 30, "512M": 512 << 20, "512m": 512 << 20, "1T": 1 << 40, "4GiB": 4 << 30, "4GB": 4 << 30, "1048576": 1 << 20, " 2G ": 2 << 30,
	} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "0", "-1G", "4.5G", "4X", "99999999999999999999", "2000T", "9223372036854775807G"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for in, want := range map[int64]string{4 << 30: "4G", 512 << 20: "512M", 1<<30 + 1: "1025M", 100: "100 bytes", 3 << 40: "3T"} {
		if got := FormatSize(in); got != want {
			t.Errorf("FormatSize(%d) = %s, want %s", in, got, want)
		}
	}
}

// What the command adds takes the place of a file that the user brought.
func TestExtraReplacesEtc(t *testing.T) {
	o := exampleOptions(t)
	o.Extra["meta/etc/a b"] = File{Mode: 0o640, Data: []byte("ours\n")}
	dir := filepath.Join(t.TempDir(), "data")
	lab.Must(t, o.stage(t.Context(), dir))
	path := filepath.Join(dir, "meta/etc/a b")
	got, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || string(got) != "ours\n" || info.Mode() != 0o640 {
		t.Errorf("file = %q, %v, %v, %v", got, info, err, statErr)
	}
}
