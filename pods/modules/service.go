package modules

import (
	"context"
	"errors"
	"log"
	"path/filepath"
	"runtime/debug"
	"time"

	"kios/internal/cmdline"
	"kios/internal/modprobe"
	"kios/pods/filewatch"
)

// Service loads modules into the running kernel.
type Service struct {
	Sysfs   string // /sys
	Modules string // the directory of the running kernel's modules
	File    string // the user's
	Log     *log.Logger

	// insert is modprobe.Insert, except where a test has no kernel to load into.
	insert func(file string, params []string) (loaded bool, err error)

	boot   cmdline.Params // parameters that the kernel command line gives
	config config
	failed map[string]bool // modules that are not tried again
}

// Run loads modules until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.prepare()
	// Both begin before the first look, so that nothing is missed. If one of them
	// fails, the rest still works.
	events, err := listen(ctx)
	if err != nil {
		s.Log.Printf("devices that appear from now on get no driver: %v", err)
	}
	changes, err := filewatch.File(ctx, s.File)
	if err != nil {
		s.Log.Printf("changes of %s are not noticed until this pod restarts: %v", s.File, err)
	}
	s.reload()
	for {
		debug.FreeOSMemory() // the lists are large and not needed for now
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok && ctx.Err() != nil {
				return nil
			}
			if !ok {
				return errors.New("the kernel's uevents ended") // a restart subscribes again
			}
			s.hotplug(append([]event{e}, waiting(events)...))
		case _, ok := <-changes:
			if !ok { // it ended with ctx, or it failed
				changes = nil
				continue
			}
			s.Log.Printf("%s has changed", s.File)
			s.reload()
		}
	}
}

func (s *Service) prepare() {
	if s.insert == nil {
		s.insert = modprobe.Insert
	}
	s.boot = modprobe.BootParams()
	s.config = config{params: map[string][]string{}, never: map[string]bool{}}
	s.failed = map[string]bool{}
}

// waiting returns the events that have come already: a device that is plugged
// in has parts, which are dealt with together.
func waiting(events <-chan event) (list []event) {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return list
			}
			list = append(list, e)
		default:
			return list
		}
	}
}

// reload reads the user's file and loads all that is needed now.
func (s *Service) reload() {
	s.readFile()
	s.loadAll()
}

// readFile takes in the user's file. One that makes no sense as a whole leaves
// in force what was there before.
func (s *Service) readFile() {
	c, ok, errs := readConfig(s.File)
	for _, err := range errs {
		s.Log.Print(err)
	}
	if ok {
		s.config = c
	}
	s.failed = map[string]bool{} // the user may have done something about it
}

// loadAll loads what the user's file names and what devices without a driver
// need.
func (s *Service) loadAll() {
	start := time.Now()
	tree := modprobe.Open(s.Modules)
	if err := tree.Exists(); err != nil {
		s.Log.Printf("there are no modules for the kernel %s (%v): devices have only the drivers that are built in", filepath.Base(s.Modules), err)
	}
	for _, e := range s.config.load {
		s.loadNamed(tree, e)
	}
	devices := walk(s.Sysfs)
	loaded := s.loadFor(tree, devices)
	s.Log.Printf("devices without a driver: %d kinds; modules loaded for them: %d, in %v", len(devices), loaded, time.Since(start).Round(time.Millisecond))
}

// hotplug loads what devices need that have just appeared. After a loss it
// looks at all devices.
func (s *Service) hotplug(events []event) {
	var devices []device
	for _, e := range events {
		if e.lost {
			devices = walk(s.Sysfs)
			break
		}
		devices = append(devices, e.device)
	}
	s.loadFor(modprobe.Open(s.Modules), devices)
}

// loadFor loads the modules for devices and returns how many that were.
func (s *Service) loadFor(tree *modprobe.Tree, devices []device) (loaded int) {
	if tree.Exists() != nil {
		return 0 // loadAll has said so
	}
	aliases := make([]string, len(devices))
	for i, d := range devices {
		aliases[i] = d.alias
	}
	modules, err := tree.Aliases(aliases)
	if err != nil {
		s.Log.Printf("find modules for devices: %v", err)
		return 0
	}
	for _, d := range devices {
		for _, module := range modules[d.alias] {
			if s.config.never[module] || s.failed[module] || modprobe.Present(s.Sysfs, module) {
				continue
			}
			loaded += s.load(tree, module, s.config.params[module], d.String())
		}
	}
	return loaded
}

// loadNamed loads what an entry of the user's file names.
func (s *Service) loadNamed(tree *modprobe.Tree, e entry) {
	why := s.File + " names it"
	modules, err := tree.Resolve(e.name)
	switch {
	case modprobe.Present(s.Sysfs, e.name):
		modules = []string{modprobe.Normalize(e.name)}
	case err != nil:
		s.Log.Printf("%s: %s is not loaded: %v", s.File, e.name, err)
	case len(modules) == 0:
		s.Log.Printf("%s: there is no module %s, neither built into the kernel nor in %s", s.File, e.name, s.Modules)
	}
	for _, module := range modules {
		s.load(tree, module, e.params, why)
	}
}
