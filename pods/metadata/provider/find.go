package provider

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"slices"

	"kios/internal/cmdline"
	"kios/pods/metadata/fetch"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/want"
)

// Env is where to look.
type Env struct {
	View machine.View
	// DHCPServers returns the addresses of the DHCP servers that gave the machine its
	// addresses, as far as they are known by then. It may be nil.
	DHCPServers func() []netip.Addr
	// Had is that of the machine when its metadata were read the last time.
	Had []string
	Log *log.Logger

	tune func(*fetch.Client) // nil but in tests
}

// client makes one for a service at these addresses.
func (e Env) client(bases ...string) *fetch.Client {
	c := &fetch.Client{Bases: bases, Log: e.Log}
	if e.tune != nil {
		e.tune(c)
	}
	return c
}

// expect has what was there before asked for again, before it counts as gone. lacks reports
// whether it is missing in an answer.
func (e Env) expect(name string, r fetch.Request, lacks func([]byte) bool) fetch.Request {
	if slices.Contains(e.Had, name) {
		r.Lacks = lacks
	}
	return r
}

// Found is who has metadata for this machine.
type Found struct {
	Name string // as in want.Machine
	From string // where the data are, for people

	read  func(context.Context) (want.Machine, error)
	ready func(context.Context) error // nil if nobody waits for it
}

// Read gets the metadata. A service is asked until it answers, or the context ends. Other
// errors say what somebody has to correct.
func (f *Found) Read(ctx context.Context) (want.Machine, error) {
	m, err := f.read(ctx)
	if err != nil {
		return want.Machine{}, fmt.Errorf("read the metadata from %s: %w", f.From, err)
	}
	m.Provider = f.Name
	return m, nil
}

// Ready tells the cloud, if that wants to know, that the machine has its metadata. It
// tries until the context ends.
func (f *Found) Ready(ctx context.Context) error {
	if f.ready == nil {
		return nil
	}
	return f.ready(ctx)
}

// Find returns who has metadata for this machine, or nil for nobody. It asks no service.
// It waits for drivers of disks if data may be on one. An error is about what names
// metadata and makes no sense; it says what to correct.
func Find(ctx context.Context, env Env) (*Found, error) {
	l, err := newLook(env)
	if err != nil {
		return nil, err
	}
	for _, source := range []func(context.Context) (*Found, error){l.commandLine, l.variables, l.smbios, l.disks} {
		if found, err := source(ctx); found != nil || err != nil {
			return found, err
		}
	}
	if l.row == nil || len(l.row.bases) == 0 {
		return nil, nil
	}
	return l.row.found(env), nil
}

// look is what is known of the machine without looking at disks.
type look struct {
	Env
	words  cmdline.Params
	dmi    machine.DMI
	secure bool
	row    *row // whose cloud the machine is in; nil if that is not known
}

func newLook(env Env) (*look, error) {
	words, err := env.View.Words()
	if err != nil {
		return nil, err
	}
	dmi := env.View.DMI()
	return &look{Env: env, words: words, dmi: dmi, secure: env.View.SecureBoot(), row: match(dmi)}, nil
}

// refuse says why what is not signed does not count, and reports whether it is so.
func (l *look) refuse(what string) bool {
	if l.secure {
		l.Log.Printf("%s is ignored: Secure Boot is on, and nobody has signed it; use the cloud's user data or a disk with the label cidata", what)
	}
	return l.secure
}

// disks looks at labels, where they can be the cloud's.
func (l *look) disks(ctx context.Context) (*Found, error) {
	if l.row != nil && !l.row.disks {
		return nil, nil
	}
	var found *Found
	l.View.Settle(ctx, func() bool {
		found = l.labelled(l.View.Volumes())
		return found != nil
	})
	return found, nil
}

// labelled returns what the first volume with a label has. In a cloud, tenants write to raw
// disks, which a pod may ask for, and only discs are certain to be the cloud's. But the
// configuration drive of OpenStack may be a disk, and comes first there: whatever else has
// a label is not OpenStack's.
func (l *look) labelled(volumes []machine.Volume) *Found {
	if l.row != nil && l.row.name == "openstack" {
		if v, ok := machine.Labelled(volumes, configLabel); ok {
			return l.configDrive(v)
		}
	}
	if l.row != nil {
		volumes = slices.DeleteFunc(slices.Clone(volumes), func(v machine.Volume) bool { return !v.Optical() })
	}
	if v, ok := machine.Labelled(volumes, "cidata"); ok {
		return l.noCloudDisk(v)
	}
	if v, ok := machine.Labelled(volumes, configLabel); ok {
		return l.configDrive(v)
	}
	return l.ovfDisc(volumes)
}
