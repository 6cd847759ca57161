package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kios/pods/metadata/fetch"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/netdata"
	"kios/pods/metadata/want"
)

// files are those of NoCloud and of others, by name.
type files map[string][]byte

const maxFile = fetch.Limit

// readFiles reads files of a volume that has at least one of them.
func readFiles(v machine.Volume, names ...string) (files, error) {
	found, err := v.Read(maxFile, names...)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no file %s: put one there, or remove the disk", v, strings.Join(names, " or "))
	}
	return found, err
}

// Files of NoCloud.
const (
	userDataFile = "user-data"
	metaDataFile = "meta-data"
	networkFile  = "network-config"
)

func (l *look) noCloudDisk(v machine.Volume) *Found {
	return &Found{Name: "nocloud", From: "the disk " + v.String(), read: func(context.Context) (want.Machine, error) {
		f, err := readFiles(v, userDataFile, metaDataFile, networkFile)
		if err != nil {
			return want.Machine{}, err
		}
		return l.noCloud(f, machine.Seed{})
	}}
}

// noCloud makes a machine of NoCloud's files. What the seed says counts more.
func (l *look) noCloud(f files, seed machine.Seed) (want.Machine, error) {
	d, err := parseYAML(f[metaDataFile])
	if err != nil {
		return want.Machine{}, fmt.Errorf("read meta-data: %w", err)
	}
	return l.onDisk(d, seed, f[userDataFile], netdata.NoCloud, f[networkFile]), nil
}

// onDisk makes a machine of what a disk has of it.
func (l *look) onDisk(d document, seed machine.Seed, userData []byte, format string, network []byte) want.Machine {
	m := l.local()
	for _, id := range []string{clean(d.value("instance-id|uuid")), clean(seed.ID)} {
		if id != "" {
			m.ID = id
		}
	}
	name := d.value("local-hostname|hostname")
	if seed.Hostname != "" {
		name = seed.Hostname
	}
	m.Hostname = hostname(short(name))
	if len(userData) > 0 {
		m.UserData = userData
	}
	if len(network) > 0 {
		m.Network = &want.Network{Format: format, Text: network}
	}
	complete(&m, d, name)
	return m
}

// readSeed gets NoCloud's files from a server.
func (l *look) readSeed(ctx context.Context, seed *machine.Seed) (want.Machine, error) {
	base := seed.URL
	if !strings.HasSuffix(base, "/") && !strings.HasSuffix(base, "=") {
		base += "/"
	}
	c := l.client(base)
	f := files{}
	var had []string
	for _, name := range []string{userDataFile, metaDataFile, networkFile} {
		text, err := c.Do(ctx, l.expect(name, fetch.Request{Path: name, Required: name == userDataFile, Check: checkSeed(name)}, fetch.IsBlank))
		if err != nil && !errors.Is(err, fetch.ErrAbsent) {
			return want.Machine{}, err
		}
		f[name] = text
		if !fetch.IsBlank(text) {
			had = append(had, name)
		}
	}
	m, err := l.noCloud(f, *seed)
	m.Had = had
	return m, err
}

// checkSeed returns what refuses an answer that cannot be the file.
func checkSeed(name string) func([]byte) error {
	if name != metaDataFile {
		return checkUserData
	}
	return func(text []byte) error {
		_, err := parseYAML(text)
		return err
	}
}

// Of OpenStack: on a disk as in the service.
const openStackID = "openstack:///{id}"

var openStackFacts = facts{"uuid", "hostname", "", "availability_zone", "instance-type", []string{"local-ipv4"}}

const configLabel = "config-2"

// Files of OpenStack's configuration drive. The one for EC2's sake says more.
const (
	driveUserData = "openstack/latest/user_data"
	driveMetaData = "openstack/latest/meta_data.json"
	driveNetwork  = "openstack/latest/network_data.json"
	driveEC2      = "ec2/latest/meta-data.json"
)

func (l *look) configDrive(v machine.Volume) *Found {
	return &Found{Name: "openstack", From: "the disk " + v.String(), read: func(context.Context) (want.Machine, error) {
		f, err := readFiles(v, driveUserData, driveMetaData, driveNetwork, driveEC2)
		if err != nil {
			return want.Machine{}, err
		}
		return l.openStack(f)
	}}
}

// openStack makes a machine of the files of a configuration drive, which others than
// OpenStack make, too: only OpenStack's own controller knows its ids.
func (l *look) openStack(f files) (want.Machine, error) {
	d := document{}
	for _, name := range []string{driveEC2, driveMetaData} {
		if err := d.merge(name, f[name]); err != nil {
			return want.Machine{}, err
		}
	}
	m := l.onDisk(d, machine.Seed{}, f[driveUserData], netdata.OpenStack, f[driveNetwork])
	id := m.ID
	openStackFacts.fill(&m, d)
	if m.ID == "" {
		m.ID = id
	}
	m.WeakID = l.row == nil // Proxmox makes it of the user data
	if l.row != nil && l.row.name == "openstack" {
		m.ProviderID = fillIn(openStackID, &m, d)
	}
	complete(&m, d, d.value("hostname"))
	return m, nil
}

// merge adds what another document says.
func (d document) merge(name string, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if len(text) > maxDocument {
		return fmt.Errorf("read %s: it has %d bytes, and at most %d are read", name, len(text), maxDocument)
	}
	more, err := parseJSON(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for key, value := range more {
		d[key] = value
	}
	return nil
}

const ovfFile = "ovf-env.xml"

// ovfDisc looks for the disc with an OVF's environment. Only VMware gives it any label.
func (l *look) ovfDisc(volumes []machine.Volume) *Found {
	if v, ok := machine.Labelled(volumes, "OVF ENV", "OVFENV", "OVF-ENV", "OVF-TRANSPORT"); ok {
		return l.ovf(v)
	}
	if l.row == nil || l.row.name != "vmware" {
		return nil
	}
	for _, v := range volumes {
		if f, err := v.Read(maxFile, ovfFile); err == nil && f[ovfFile] != nil {
			return l.ovf(v)
		}
	}
	return nil
}

func (l *look) ovf(v machine.Volume) *Found {
	return &Found{Name: "ovf", From: "the disc " + v.String(), read: func(context.Context) (want.Machine, error) {
		f, err := readFiles(v, ovfFile)
		if err != nil {
			return want.Machine{}, err
		}
		return l.ovfMachine(f[ovfFile])
	}}
}

// ovfMachine makes a machine of the properties that cloud-init's OVF has.
func (l *look) ovfMachine(text []byte) (want.Machine, error) {
	env, err := parseOVF(text)
	if err != nil {
		return want.Machine{}, err
	}
	d := document{"instance-id": env.first("instance-id"), "local-hostname": env.first("hostname", "local-hostname")}
	userData := unpack([]byte(env.first("user-data", "guestinfo.userdata")))
	return l.onDisk(d, machine.Seed{}, userData, netdata.NoCloud, unpack([]byte(env.first("network-config")))), nil
}
