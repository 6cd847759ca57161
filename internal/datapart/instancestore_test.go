package datapart

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kios/test/lab"

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

// What a node may move onto is made of disks of the instance, and of nothing else.
func TestDemandStripes(t *testing.T) {
	s := machine(t)
	for i, name := range []string{"nvme1n1", "nvme2n1"} {
		s.addDisk(t, "pci0000:00/0000:00:1f."+strconv.Itoa(i)+"/nvme/"+name, name, 512)
		s.write(t, "block/"+name+"/device/model", instanceStoreModel+"\n")
	}
	s.addDisk(t, pci, "vda", 512)
	for _, tt := range []struct {
		name   string
		rule   Rule
		slaves []string
		want   string
	}{
		{StripesName, auto, []string{"nvme1n1", "nvme2n1"}, ""},
		{StripesName, auto, []string{"nvme1n1", "vda"}, "made of /dev/vda, which is no disk of an instance"},
		{StripesName, auto, nil, "made of no disk"},
		{StripesName, Rule{DataPart: uuid(2)}, []string{"nvme1n1", "nvme2n1"}, "names another partition"},
		{StripesName, Rule{DataPart: None}, []string{"nvme1n1", "nvme2n1"}, "forbids it"},
		{"other", auto, []string{"nvme1n1", "nvme2n1"}, "is no partition"},
	} {
		t.Run(tt.name+tt.want, func(t *testing.T) {
			lab.Must(t, os.RemoveAll(filepath.Join(s.Sys, "block/dm-3")))
			s.write(t, "block/dm-3/dm/name", tt.name+"\n")
			for _, slave := range tt.slaves {
				s.write(t, "block/dm-3/slaves/"+slave+"/size", "1\n")
			}
			err := s.Demand(tt.rule, filepath.Join(s.Dev, "dm-3"))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Demand = %v, want %q", err, tt.want)
			}
		})
	}
}
