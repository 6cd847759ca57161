package disk

import (
	"fmt"
	"os"
	"path"
	"strings"

	"kios/internal/cmdline"
	"kios/internal/datapart"
	"kios/internal/gpt"
	"kios/pods/settings"
)

// file is /etc/kios/disk.yaml.
type file struct {
	Device  string `json:"device"`
	Serial  string `json:"serial"`
	Wipe    bool   `json:"wipe"`
	Striped bool   `json:"striped"`
	Repair  *bool  `json:"repair"`
}

// wishes is what the user wants, from the file and the kernel command line.
type wishes struct {
	device string // to make a data partition on: a path in /dev, "auto", or "" for none
	serial string // that the disk must have, "" for any
	wipe   bool
	repair bool
	owner  datapart.Rule // what the kernel command line says, and from where the machine booted

	// instanceStore is for disks of this instance of EC2. The device is "" at first, and then
	// the one of them that is taken, unless all are.
	instanceStore bool
	striped       bool // all of them are to be one
}

const (
	auto          = datapart.Auto
	instanceStore = "instance-store"
)

// asked reports whether a data partition is wanted anywhere.
func (w wishes) asked() bool { return w.device != "" || w.instanceStore }

// rule returns where a data partition may be found: also where the file wants one.
func (w wishes) rule() datapart.Rule {
	r := w.owner
	r.Disk = w.device
	return r
}

// wishes reads both sources. With a mistake in either, nothing is made: the
// service does not guess what the user meant.
func (s *Service) wishes() wishes {
	w, err := s.readFile()
	if err != nil {
		s.Log.Printf("%v: no data partition is made until this is corrected", err)
	}
	wrong := err != nil
	text, err := os.ReadFile(s.Cmdline)
	if err != nil {
		s.Log.Printf("read the kernel command line: %v", err)
	}
	params := cmdline.Parse(string(text))
	options, _ := params.Options() // PID 1 has logged mistakes
	w.owner = datapart.RuleOf(options)
	w.owner.Boot = s.bootPartition()
	if device, found := params.Last("kios.disk"); found {
		// It replaces the file's disk: wipe and serial were meant for that one.
		w.device, w.serial, w.wipe, w.instanceStore = device, "", false, false
		if err := checkDevice(device); err != nil {
			s.Log.Printf("kernel command line: kios.disk=%s is ignored: %v", device, err)
			wrong = true
		}
	}
	if wrong {
		w.device, w.instanceStore = "", false
	}
	return w
}

// bootPartition returns the partition that PID 1 says the machine booted from.
func (s *Service) bootPartition() gpt.GUID {
	text, err := os.ReadFile(s.Boot)
	var guid gpt.GUID
	if err == nil {
		guid, err = gpt.ParseGUID(strings.TrimSpace(string(text)))
	}
	if err != nil {
		s.Log.Printf("the disk that the machine booted from is not known: %v", err)
	}
	return guid
}

func (s *Service) readFile() (wishes, error) {
	var f file
	if err := settings.Read(s.Settings, &f); err != nil {
		return wishes{repair: true}, err
	}
	w := wishes{device: f.Device, serial: f.Serial, wipe: f.Wipe, repair: f.Repair == nil || *f.Repair}
	if f.Device == instanceStore {
		w.device, w.instanceStore, w.striped = "", true, f.Striped
	}
	if err := f.check(); err != nil {
		return w, fmt.Errorf("%s: %w", s.Settings, err)
	}
	return w, nil
}

func (f *file) check() error {
	switch {
	case f.Striped && f.Device != instanceStore:
		return fmt.Errorf("striped needs device: %s", instanceStore)
	case f.Device == instanceStore && f.Serial != "":
		return fmt.Errorf("serial needs the name of a disk in the field device, not %s", instanceStore)
	case f.Device == instanceStore:
		return nil
	case f.Device == "" && (f.Wipe || f.Serial != ""):
		return fmt.Errorf("wipe and serial need the field device")
	case f.Device == "":
		return nil
	}
	if err := checkDevice(f.Device); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if f.Wipe && f.Device == auto {
		return fmt.Errorf("wipe: true needs the name of a disk in the field device, not auto")
	}
	return nil
}

func checkDevice(device string) error {
	name, found := strings.CutPrefix(device, "/dev/")
	if device == auto || found && name != "" && path.Base(device) == name && name != "." && name != ".." {
		return nil
	}
	return fmt.Errorf("%q is neither auto nor the name of a disk such as /dev/vda (there are no links such as /dev/disk/by-id)", device)
}
