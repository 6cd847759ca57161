package machine

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/internal/cmdline"
	"kios/test/lab"
)

// view is a machine that is a directory.
func view(t testing.TB) View {
	t.Helper()
	dir := t.TempDir()
	return View{Sys: dir + "/sys", Dev: dir + "/dev", EFIVars: dir + "/efivars", Cmdline: dir + "/cmdline", Scratch: dir}
}

func TestDMI(t *testing.T) {
	v := view(t)
	if got := v.DMI(); got != (DMI{}) {
		t.Errorf("DMI of nothing = %+v", got)
	}
	lab.WriteFile(t, v.Sys+"/class/dmi/id/sys_vendor", "Amazon EC2\n")
	lab.WriteFile(t, v.Sys+"/class/dmi/id/product_uuid", strings.Repeat("x", 2*maxField))
	if got := v.DMI(); got != (DMI{SysVendor: "Amazon EC2"}) {
		t.Errorf("DMI = %+v", got)
	}
}

// structure is one of SMBIOS, with no field but a count.
func structure(kind byte, strings ...string) []byte {
	b := []byte{kind, 5, 0, 0, byte(len(strings))}
	for _, s := range strings {
		b = append(append(b, s...), 0)
	}
	if len(strings) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

func TestCredential(t *testing.T) {
	const prefix = "io.systemd.credential:kios.user-data="
	const binary = "io.systemd.credential.binary:kios.user-data="
	packed := base64.StdEncoding.EncodeToString([]byte("a\x00b"))
	for name, c := range map[string]struct {
		tables [][]byte
		want   string
		fails  bool
	}{
		"text":        {[][]byte{structure(1, "x"), structure(11, "other", prefix+"a=b")}, "a=b", false},
		"binary":      {[][]byte{structure(11, binary+packed)}, "a\x00b", false},
		"no base64":   {[][]byte{structure(11, binary+"!")}, "", true},
		"second":      {[][]byte{structure(11, "x"), structure(2), structure(11, prefix+"a")}, "a", false},
		"another":     {[][]byte{structure(11, "io.systemd.credential:kios.user-data2=a")}, "", false},
		"other type":  {[][]byte{structure(1, prefix+"a")}, "", false},
		"behind end":  {[][]byte{structure(127), structure(11, prefix+"a")}, "", false},
		"short":       {[][]byte{{11}}, "", false},
		"cut":         {[][]byte{structure(11, prefix+"a")[:20]}, "", false},
		"length 0":    {[][]byte{{11, 0, 0, 0}, []byte(prefix)}, "", false},
		"too long":    {[][]byte{{11, 255, 0, 0, 0, 0}}, "", false},
		"no tables":   {nil, "", false},
		"no strings":  {[][]byte{structure(11), structure(11, prefix+"a")}, "a", false},
		"first wins":  {[][]byte{structure(11, prefix+"a", prefix+"b")}, "a", false},
		"both forms":  {[][]byte{structure(11, binary+packed, prefix+"b")}, "a\x00b", false},
		"other first": {[][]byte{structure(11, "io.systemd.credential:x=1", prefix+"b")}, "b", false},
	} {
		t.Run(name, func(t *testing.T) {
			v := view(t)
			lab.WriteFile(t, v.Sys+"/firmware/dmi/tables/DMI", string(bytes.Join(c.tables, nil)))
			got, err := v.Credential("kios.user-data")
			if string(got) != c.want || (err != nil) != c.fails {
				t.Errorf("Credential = %q, %v, want %q", got, err, c.want)
			}
		})
	}
	if got, err := view(t).Credential("x"); got != nil || err != nil {
		t.Errorf("without SMBIOS, Credential = %q, %v", got, err)
	}
}

func FuzzCredential(f *testing.F) {
	f.Add(structure(11, "io.systemd.credential:x=a"))
	f.Add(structure(11, "io.systemd.credential.binary:x=YQ=="))
	f.Add(append(structure(1, "a", "b"), structure(127)...))
	f.Fuzz(func(t *testing.T, tables []byte) {
		if got, _ := credential(tables, "x"); len(got) > len(tables) {
			t.Errorf("%d bytes give %d", len(tables), len(got))
		}
	})
}

func TestVariables(t *testing.T) {
	v := view(t)
	if got, err := v.Variables(); len(got) > 0 || err != nil || v.SecureBoot() {
		t.Errorf("without UEFI, Variables = %q, %v; SecureBoot = %v", got, err, v.SecureBoot())
	}
	for name, text := range map[string]string{
		"Hostname-" + vendor: "\a\x00\x00\x00node", "Empty-" + vendor: "\a\x00\x00\x00", "Short-" + vendor: "\a",
		"Hostname-" + globalVendor: "\a\x00\x00\x00other", "SecureBoot-" + globalVendor: "\x06\x00\x00\x00\x01",
	} {
		lab.WriteFile(t, filepath.Join(v.EFIVars, name), text)
	}
	got, err := v.Variables()
	if diff := cmp.Diff(map[string][]byte{"Hostname": []byte("node"), "Empty": {}, "Short": {}}, got); diff != "" || err != nil {
		t.Errorf("Variables: %v, -want +got:\n%s", err, diff)
	}
	if !v.SecureBoot() {
		t.Error("SecureBoot = false")
	}
	lab.WriteFile(t, filepath.Join(v.EFIVars, "SecureBoot-"+globalVendor), "\x06\x00\x00\x00\x00")
	if v.SecureBoot() {
		t.Error("SecureBoot = true where it is off")
	}
	lab.WriteFile(t, filepath.Join(v.EFIVars, "Hostname-"+vendor), strings.Repeat("x", maxVariable+1))
	if _, err := v.Variables(); err == nil {
		t.Error("Variables takes one without end")
	}
}

func TestConfig(t *testing.T) {
	sum := strings.Repeat("a", 64)
	for line, want := range map[string]*Config{
		"":                                 nil,
		"kios.stop=3 quiet":                nil,
		"kios.config=http://h/f":           {URL: "http://h/f"},
		"kios.config=https://h/f?a=b&c=d#": {URL: "https://h/f?a=b&c=d#"},
		"kios.config=http://h/f kios.config.sha256=" + sum: {URL: "http://h/f", SHA256: sum},
	} {
		got, err := FindConfig(cmdline.Parse(line))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("FindConfig(%q): %v, -want +got:\n%s", line, err, diff)
		}
	}
	for _, line := range []string{"kios.config", "kios.config=/file", "kios.config=ftp://h/f", "kios.config=http:///f",
		"kios.config=http://h/f kios.config.sha256=12", "kios.config=http://h kios.config.sha256", "kios.config.sha256=" + sum} {
		if got, err := FindConfig(cmdline.Parse(line)); err == nil {
			t.Errorf("FindConfig(%q) = %+v, want an error", line, got)
		}
	}
}

func TestSeed(t *testing.T) {
	for text, want := range map[string]*Seed{
		"":                            nil,
		"nocloud":                     nil,
		"ec2;s=http://h/":             nil,
		"nocloud;h=a":                 nil,
		"nocloud;s=http://h/":         {URL: "http://h/"},
		"nocloud-net;s=https://h/a=b": {URL: "https://h/a=b"},
		"nocloud;i=1;seedfrom=http://h/;h=n;local-hostname=m": {URL: "http://h/", Hostname: "m", ID: "1"},
	} {
		got, err := FindSeed(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("FindSeed(%q): %v, -want +got:\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"nocloud;s=file:///seed/", "nocloud;s=/seed/"} {
		if _, err := FindSeed(text); err == nil {
			t.Errorf("FindSeed(%q) is no error", text)
		}
	}
}

func FuzzCmdline(f *testing.F) {
	f.Add("kios.config=http://h/f kios.config.sha256=ab ds=nocloud;s=http://h/;h=a;i=b")
	f.Fuzz(func(t *testing.T, line string) {
		words := cmdline.Parse(line)
		if c, err := FindConfig(words); err == nil && c != nil && !isHTTP(c.URL) {
			t.Errorf("%q is not HTTP", c.URL)
		}
		ds, _ := words.Last("ds")
		if s, err := FindSeed(ds); err == nil && s != nil && !isHTTP(s.URL) {
			t.Errorf("%q is not HTTP", s.URL)
		}
	})
}

func TestReadFileIsBounded(t *testing.T) {
	if _, err := readFile("/dev/zero", 1<<20); err == nil {
		t.Error("/dev/zero has an end")
	}
}

// The files of a volume are whatever somebody put there.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	lab.WriteFile(t, secret, "secret")
	lab.WriteFile(t, dir+"/user-data", "#cloud-config")
	lab.WriteFile(t, dir+"/large", strings.Repeat("x", 101))
	lab.Must(t, os.Symlink(secret, dir+"/link"))
	lab.Must(t, os.Mkdir(dir+"/folder", 0o755))
	lab.Run(t, "mkfifo", dir+"/fifo")

	got, err := readFiles(dir, 100, []string{"user-data", "none", "user-data/none", "no/such"})
	if diff := cmp.Diff(map[string][]byte{"user-data": []byte("#cloud-config")}, got); diff != "" || err != nil {
		t.Errorf("readFiles: %v, -want +got:\n%s", err, diff)
	}
	for _, name := range []string{"large", "link", "folder", "fifo"} {
		if got, err := readFiles(dir, 100, []string{name}); err == nil {
			t.Errorf("readFiles of %s = %q, want an error", name, got)
		}
	}
}

// Settle waits for drivers that are on their way, and for no others.
func TestUnsettled(t *testing.T) {
	v := view(t)
	check := func(what string, want bool) {
		t.Helper()
		if got := v.unsettled(); got != want {
			t.Errorf("with %s, unsettled = %v", what, got)
		}
	}
	check("nothing", false)
	device := func(path, value string) { lab.WriteFile(t, filepath.Join(v.Sys, path), value+"\n") }
	device("bus/pci/devices/1/class", "0x020000")
	device("bus/scsi/devices/1/type", "3")
	check("a network card and a scanner", false)
	device("bus/pci/devices/2/class", "0x010700")
	check("a controller", true)
	device("bus/pci/devices/2/driver/x", "")
	check("its driver", false)
	device("bus/scsi/devices/2/type", "5")
	check("a CD-ROM", true)
	device("bus/scsi/devices/2/block/sr0/size", "1")
	check("its block device", false)
}

// A disk that comes after its driver, such as one on USB, is looked at, and so is what
// comes after that. Then there is an end.
func TestSettleWaitsForDisks(t *testing.T) {
	v := view(t)
	v.Quiet = Quiet
	lab.Must(t, os.MkdirAll(filepath.Join(v.Sys, "class/block"), 0o755))
	plug := func(name string) {
		lab.WriteFile(t, filepath.Join(v.Sys, "devices", name, "size"), "8192\n")
		lab.Must(t, os.Symlink("../../devices/"+name, filepath.Join(v.Sys, "class/block", name)))
	}
	lab.Must(t, os.Symlink("../../devices/virtual/block/loop0", filepath.Join(v.Sys, "class/block/loop0")))
	plug("vda")
	var seen []int
	begin := time.Now()
	v.Settle(t.Context(), func() bool {
		seen = append(seen, len(v.blocks()))
		if n := len(seen); n < 3 {
			time.AfterFunc(Quiet/4, func() { plug(fmt.Sprintf("sd%c", 'a'+n)) })
		}
		return false
	})
	if diff := cmp.Diff([]int{1, 2, 3}, seen); diff != "" || time.Since(begin) < Quiet {
		t.Errorf("devices that were there at each look, after %v (-want +got):\n%s", time.Since(begin), diff)
	}
	begin = time.Now()
	v.Settle(t.Context(), func() bool { return true })
	if took := time.Since(begin); took >= Quiet {
		t.Errorf("with a volume, it takes %v", took)
	}
}

// image makes a disc or disk with a program of the host, in a file.
func image(t testing.TB, label, kind string) string {
	t.Helper()
	path, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	lab.WriteFile(t, dir+"/user-data", "#cloud-config\n# "+label)
	lab.WriteFile(t, dir+"/openstack/latest/meta_data.json", "{}")
	lab.Must(t, os.WriteFile(path, nil, 0o644))
	lab.Must(t, os.Truncate(path, 4<<20))
	switch kind {
	case "iso9660":
		lab.Run(t, tool(t, "genisoimage"), "-quiet", "-o", path, "-V", label, "-J", "-r", dir)
	case "both":
		lab.Run(t, tool(t, "genisoimage"), "-quiet", "-o", path, "-V", label, "-r", "-udf", dir)
	case "udf-2048", "udf-512":
		lab.Run(t, tool(t, "mkudffs"), "--label="+label, "--blocksize="+kind[4:], path)
	case "fat12":
		lab.Run(t, tool(t, "mkfs.vfat"), "-F", "12", "-n", label, path)
	case "fat16":
		lab.Must(t, os.Truncate(path, 16<<20))
		lab.Run(t, tool(t, "mkfs.vfat"), "-F", "16", "-n", label, path)
	case "fat32":
		lab.Must(t, os.Truncate(path, 64<<20))
		lab.Run(t, tool(t, "mkfs.vfat"), "-F", "32", "-n", label, path)
	}
	return path
}

// kinds are what identify must find in each image.
var kinds = map[string][]string{
	"iso9660": {"iso9660"}, "both": {"udf", "iso9660"}, "udf-2048": {"udf"}, "udf-512": {"udf"},
	"fat12": {"vfat"}, "fat16": {"vfat"}, "fat32": {"vfat"},
}

func TestIdentify(t *testing.T) {
	for kind, want := range kinds {
		for _, label := range []string{"CIDATA", "config-2", "OVF ENV"} {
			t.Run(kind+" "+label, func(t *testing.T) {
				f, err := os.Open(image(t, label, kind))
				lab.Must(t, err)
				defer f.Close()
				var wanted []string
				for _, k := range want {
					wanted = append(wanted, k+" "+label)
				}
				var got []string
				for _, fs := range identify(f) {
					got = append(got, fs.kind+" "+fs.label)
				}
				if diff := cmp.Diff(wanted, got); diff != "" {
					t.Errorf("identify, -want +got:\n%s", diff)
				}
			})
		}
	}
}

// Other disks have no such file system.
func TestIdentifyOthers(t *testing.T) {
	mbr := make([]byte, 1<<20)
	mbr[510], mbr[511] = 0x55, 0xaa
	for name, disk := range map[string][]byte{"empty": nil, "zero": make([]byte, 1<<20), "MBR": mbr, "ones": bytes.Repeat([]byte{0xff}, 1<<20)} {
		if got := identify(bytes.NewReader(disk)); len(got) > 0 {
			t.Errorf("identify of a disk that is %s = %v", name, got)
		}
	}
}

// FuzzIdentify changes descriptors: a disc's from sector 16 on, UDF's anchor at 256 and
// what it leads to.
func FuzzIdentify(f *testing.F) {
	f.Add([]byte{0xeb}, []byte("\x01CD001"), []byte{2, 0}, []byte{6, 0})
	f.Add([]byte{}, []byte("\x00BEA01"), []byte{2, 0, 2, 0, 4}, []byte{8, 0})
	f.Fuzz(func(t *testing.T, boot, descriptors, anchor, volume []byte) {
		disk := make([]byte, 600<<10)
		copy(disk, boot)
		copy(disk[16*discSector:], descriptors)
		copy(disk[32*discSector:], volume)
		copy(disk[anchorAt*discSector:], anchor)
		for _, fs := range identify(bytes.NewReader(disk)) {
			if len(fs.label) > 512 {
				t.Errorf("%s has a label of %d bytes", fs.kind, len(fs.label))
			}
		}
	})
}

// Only what is part of the machine is looked at.
func TestIsHardware(t *testing.T) {
	v := view(t)
	for path, transport := range map[string]string{"nvme-subsys0/nvme0": "pcie\n", "nvme-subsys2/nvme2": "pcie\n", "nvme-subsys2/nvme3": "tcp\n"} {
		lab.WriteFile(t, v.Sys+"/devices/virtual/nvme-subsystem/"+path+"/transport", transport)
	}
	for name, c := range map[string]struct {
		place, size string
		want        bool
	}{
		"vda":     {"devices/pci0000:00/0000:00:01.0/virtio0/block/vda", "100", true},
		"vda1":    {"devices/pci0000:00/0000:00:01.0/virtio0/block/vda/vda1", "100", true},
		"sr0":     {"devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sr0", "100", true},
		"sr1":     {"devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:1/block/sr1", "0", false},
		"nvme0n1": {"devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "100", true},
		"nvme1n1": {"devices/virtual/nvme-fabrics/ctl/nvme1/nvme1n1", "100", false},
		"nvme2n1": {"devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1", "100", false},
		"sda":     {"devices/platform/host1/session1/target1:0:0/1:0:0:0/block/sda", "100", false},
		"loop0":   {"devices/virtual/block/loop0", "100", false},
		"dm-0":    {"devices/virtual/block/dm-0", "100", false},
		"rbd0":    {"devices/rbd/0/block/rbd0", "100", false},
		"fd0":     {"devices/platform/floppy.0/block/fd0", "8", false},
	} {
		lab.WriteFile(t, fmt.Sprintf("%s/%s/size", v.Sys, c.place), c.size)
		lab.Must(t, os.MkdirAll(v.Sys+"/class/block", 0o755))
		lab.Must(t, os.Symlink("../../"+c.place, v.Sys+"/class/block/"+name))
		if got := v.isHardware(name); got != c.want {
			t.Errorf("isHardware(%s) = %v", name, got)
		}
	}
	if v.isHardware("none") {
		t.Error("isHardware of nothing")
	}
}

// tool is a program of the host that may be missing.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	t.Skipf("there is no %s: kios deps --test installs it", name)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
