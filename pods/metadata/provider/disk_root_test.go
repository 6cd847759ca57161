//go:build root

package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/pods/metadata/machine"
	"kios/test/lab"
)

// insert makes a disk of a FAT with a label, on a loop device.
func insert(t *testing.T, v machine.View, name, label string) {
	t.Helper()
	lab.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "image")
	lab.WriteFile(t, path, "")
	lab.Must(t, os.Truncate(path, 4<<20))
	lab.Run(t, "mkfs.vfat", "-n", label, path)
	loop := strings.TrimSpace(lab.Run(t, "losetup", "--read-only", "--find", "--show", path))
	t.Cleanup(func() { lab.Run(t, "losetup", "--detach", loop) })
	lab.WriteFile(t, v.Sys+"/devices/"+name+"/size", "8192\n")
	for link, target := range map[string]string{v.Sys + "/class/block/" + name: "../../devices/" + name, v.Dev + "/" + name: loop} {
		lab.Must(t, os.MkdirAll(filepath.Dir(link), 0o755))
		lab.Must(t, os.Symlink(target, link))
	}
}

// Labels count before services, but only in clouds that use them: elsewhere such a disk is
// a pod's. A disc counts before a disk.
func TestLabels(t *testing.T) {
	for name, c := range map[string]struct {
		dmi   map[string]string
		disks map[string]string
		want  string
		from  string
	}{
		"cidata":                  {nil, map[string]string{"vdb": "cidata"}, "nocloud", "the disk cidata on /dev/vdb"},
		"CIDATA":                  {map[string]string{"sys_vendor": "QEMU"}, map[string]string{"vda": "x", "vdb": "CIDATA"}, "nocloud", "the disk CIDATA on /dev/vdb"},
		"a disc and a disk":       {nil, map[string]string{"sr0": "cidata", "a": "cidata"}, "nocloud", "the disk cidata on /dev/sr0"},
		"both labels":             {nil, map[string]string{"a": "config-2", "b": "cidata"}, "nocloud", "the disk cidata on /dev/b"},
		"config-2":                {services["openstack"].dmi, map[string]string{"vdb": "config-2"}, "openstack", "the disk config-2 on /dev/vdb"},
		"config-2 elsewhere":      {nil, map[string]string{"vdb": "CONFIG-2"}, "openstack", "the disk CONFIG-2 on /dev/vdb"},
		"OVF":                     {map[string]string{"sys_vendor": "VMware, Inc."}, map[string]string{"sr0": "OVF ENV"}, "ovf", "the disc OVF ENV on /dev/sr0"},
		"cidata on VMware":        {map[string]string{"sys_vendor": "VMware, Inc."}, map[string]string{"sr0": "OVF ENV", "sr1": "cidata"}, "nocloud", "the disk cidata on /dev/sr1"},
		"another label":           {nil, map[string]string{"vda": "data"}, "", ""},
		"a pod's disk on EC2":     {services["ec2"].dmi, map[string]string{"nvme1n1": "cidata"}, "ec2", "the metadata service of ec2"},
		"a pod's disk on Hetzner": {services["hetzner"].dmi, map[string]string{"sdb": "config-2"}, "hetzner", "the metadata service of hetzner"},
	} {
		t.Run(name, func(t *testing.T) {
			e := env(t, c.dmi)
			for disk, label := range c.disks {
				insert(t, e.View, disk, label)
			}
			found, err := Find(t.Context(), e)
			lab.Must(t, err)
			if found == nil {
				found = &Found{}
			}
			if found.Name != c.want || found.From != c.from {
				t.Errorf("Find = %s, %s, want %s, %s", found.Name, found.From, c.want, c.from)
			}
		})
	}
}
