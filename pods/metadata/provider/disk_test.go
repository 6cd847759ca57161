package provider

import (
	"strings"
	"testing"

	"kios/pods/metadata/machine"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

func TestNoCloud(t *testing.T) {
	l := &look{dmi: machine.DMI{ProductUUID: "AB-CD"}}
	for name, c := range map[string]struct {
		files files
		want  want.Machine
	}{
		"all": {files{userDataFile: []byte(cloudConfig), metaDataFile: []byte("instance-id: i-1\nlocal-hostname: Node-1.example.com\n"), networkFile: []byte("version: 2\n")},
			want.Machine{ID: "i-1", Hostname: "node-1", UserData: []byte(cloudConfig), Network: &want.Network{Format: "nocloud", Text: []byte("version: 2\n")}}},
		"user data only": {files{userDataFile: []byte(cloudConfig)}, want.Machine{ID: "ab-cd", UserData: []byte(cloudConfig)}},
		"JSON":           {files{metaDataFile: []byte(`{"instance-id": 12, "hostname": "a"}`)}, want.Machine{ID: "12", Hostname: "a"}},
		"empty":          {files{userDataFile: {}, metaDataFile: {}, networkFile: {}}, want.Machine{ID: "ab-cd"}},
		"comments":       {files{metaDataFile: []byte("# nothing\n")}, want.Machine{ID: "ab-cd"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := l.noCloud(c.files, machine.Seed{})
			lab.Must(t, err)
			compare(t, c.want, m)
		})
	}
	aliases := "a: &a " + strings.Repeat("x", 30<<10) + "\nb: [" + strings.Repeat("*a,", 10<<10) + "]\n" // of 300 MB
	for name, text := range map[string]string{"aliases": aliases, "a list": "[a]", "a tab": "\ta", "large": "a: " + strings.Repeat("x", maxYAML)} {
		if m, err := l.noCloud(files{metaDataFile: []byte(text)}, machine.Seed{}); err == nil || !strings.Contains(err.Error(), "meta-data") {
			t.Errorf("noCloud of %s = %+v, %v", name, m, err)
		}
	}
}

// A pod can write a label to a raw disk that it has in a cloud, but not to a disc.
func TestLabelsInClouds(t *testing.T) {
	for _, c := range []struct{ row, volumes, want string }{
		{"", "vdb=cidata", "cidata on /dev/vdb"},
		{"", "vdb=config-2", "config-2 on /dev/vdb"},
		{"", "vdb=OVF ENV", "OVF ENV on /dev/vdb"},
		{"openstack", "vdb=cidata", ""},
		{"openstack", "vdb=CIDATA,vdc=config-2", "config-2 on /dev/vdc"},
		{"openstack", "sr0=cidata,vdc=config-2", "config-2 on /dev/vdc"},
		{"openstack", "sr0=cidata,vdc=OVF ENV", "cidata on /dev/sr0"},
		{"cloudstack", "vdb=cidata,vdc=config-2,vdd=OVF ENV", ""},
		{"cloudstack", "sr0=config-2,vdb=cidata", "config-2 on /dev/sr0"},
		{"vmware", "sda=cidata,sdb=config-2,sdc=OVF ENV", ""},
		{"vmware", "sr0=OVF ENV,sda=cidata", "OVF ENV on /dev/sr0"},
	} {
		var volumes []machine.Volume
		for v := range strings.SplitSeq(c.volumes, ",") {
			name, label, _ := strings.Cut(v, "=")
			volumes = append(volumes, machine.Volume{Name: name, Label: label})
		}
		l := &look{}
		if c.row != "" {
			l.row = &row{name: c.row}
		}
		var got string
		if found := l.labelled(volumes); found != nil {
			_, got, _ = strings.Cut(found.From, "the dis")
			got = got[2:]
		}
		if got != c.want {
			t.Errorf("%s with %s: %q, want %q", c.row, c.volumes, got, c.want)
		}
	}
}

// Who makes a disk may give the machine another id at each boot. OpenStack does not.
func TestWeakID(t *testing.T) {
	meta := []byte(`{"uuid": "u-1", "instance-id": "i-1"}`)
	ovf := []byte(`<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"/>`)
	openStack := func(row *row) (want.Machine, error) { return (&look{row: row}).openStack(files{driveMetaData: meta}) }
	for name, c := range map[string]struct {
		read func() (want.Machine, error)
		weak bool
	}{
		"nocloud":               {func() (want.Machine, error) { return (&look{}).noCloud(files{metaDataFile: meta}, machine.Seed{}) }, true},
		"OVF":                   {func() (want.Machine, error) { return (&look{}).ovfMachine(ovf) }, true},
		"a configuration drive": {func() (want.Machine, error) { return openStack(nil) }, true},
		"one in OpenStack":      {func() (want.Machine, error) { return openStack(&row{name: "openstack"}) }, false},
		"nobody but firmware":   {func() (want.Machine, error) { return (&look{}).local(), nil }, true},
	} {
		m, err := c.read()
		if err != nil || m.WeakID != c.weak {
			t.Errorf("%s: WeakID = %v, %v", name, m.WeakID, err)
		}
	}
}

// A configuration drive is no proof of OpenStack, whose controller alone knows its ids.
func TestConfigDrive(t *testing.T) {
	f := files{
		driveMetaData: []byte(`{"uuid": "u-1", "hostname": "node-1.novalocal", "availability_zone": "nova"}`), driveUserData: []byte(cloudConfig),
		driveNetwork: []byte("{}"), driveEC2: []byte(`{"instance-type": "m1.small", "local-ipv4": "10.0.0.5", "instance-id": "i-00000001", "hostname": "other"}`),
	}
	machine := want.Machine{ID: "u-1", Hostname: "node-1", Zone: "nova", Type: "m1.small", Addresses: addrs("10.0.0.5"), UserData: []byte(cloudConfig),
		Network: &want.Network{Format: "openstack", Text: []byte("{}")}}
	m, err := (&look{}).openStack(f)
	lab.Must(t, err)
	compare(t, machine, m)
	if got := m.Jinja["local_hostname"]; got != "node-1" {
		t.Errorf("local_hostname = %q", got)
	}
	m, err = (&look{row: &row{name: "openstack"}}).openStack(f)
	lab.Must(t, err)
	machine.ProviderID = "openstack:///u-1"
	compare(t, machine, m)
	if m, err := (&look{}).openStack(files{driveMetaData: []byte("<html>")}); err == nil {
		t.Errorf("openStack of garbage = %+v", m)
	}
}
