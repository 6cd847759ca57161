//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"testing"

	"kios/host/qemu"
	"kios/test/lab"
)

// volumes makes the discs and the disk that pods/metadata/machine looks for.
func volumes(t *testing.T, work string) (discs []string, disk qemu.Disk) {
	t.Helper()
	dir := filepath.Join(work, "volumes")
	lab.WriteFile(t, dir+"/cidata/user-data", "#cloud-config\n")
	lab.WriteFile(t, dir+"/azure/ovf-env.xml", "<a/>\n")
	lab.WriteFile(t, dir+"/user_data", "#cloud-config\n")
	own := []string{"-quiet", "-R", "-uid", "1000", "-gid", "1000", "-file-mode", "0400"}
	lab.Run(t, "genisoimage", append(own, "-o", dir+"/cidata.iso", "-V", "cidata", "-J", dir+"/cidata")...)
	lab.Run(t, "genisoimage", append(own, "-o", dir+"/azure.iso", "-V", "rd_rdfe_stable", "-udf", dir+"/azure")...)
	return []string{dir + "/cidata.iso", dir + "/azure.iso"}, qemu.Disk{Path: fat(t, dir), Format: "raw", ReadOnly: true}
}

// fat makes a configuration drive of OpenStack's.
func fat(t *testing.T, dir string) string {
	t.Helper()
	path := dir + "/config.img"
	lab.Must(t, os.WriteFile(path, nil, 0o600))
	lab.Must(t, os.Truncate(path, 4<<20))
	lab.Run(t, "mkfs.vfat", "-n", "config-2", path)
	lab.Run(t, "mmd", "-i", path, "::openstack", "::openstack/latest")
	lab.Run(t, "mcopy", "-i", path, dir+"/user_data", "::openstack/latest/user_data")
	return path
}
