package datapart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInstanceStore(t *testing.T) {
	s := machine(t)
	for _, d := range []struct{ bus, name, model, serial string }{
		{"pci0000:00/0000:00:04.0/nvme/nvme0", "nvme0n1", "Amazon Elastic Block Store              ", "vol01"},
		{"pci0000:00/0000:00:1e.0/nvme/nvme1", "nvme1n1", "Amazon EC2 NVMe Instance Storage        ", "AWS9"},
		{"pci0000:00/0000:00:1f.0/nvme/nvme2", "nvme2n1", "Amazon EC2 NVMe Instance Storage        ", "AWS10"},
		{"virtual", "dm-0", "Amazon EC2 NVMe Instance Storage        ", "AWS1"},
		{pci, "vda", "", ""},
	} {
		s.addDisk(t, d.bus, d.name, 512)
		if d.model != "" {
			s.write(t, "block/"+d.name+"/device/model", d.model+"\n")
			s.write(t, "block/"+d.name+"/device/serial", d.serial+"\n")
		}
	}
	if diff := cmp.Diff([]string{"nvme2n1", "nvme1n1"}, s.InstanceStore()); diff != "" {
		t.Errorf("InstanceStore() (-want +got):\n%s", diff)
	}
}
