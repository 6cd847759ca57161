package modules

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/modprobe"
)

// load loads a module with what it needs, logs each module and returns how many
// were loaded.
func (s *Service) load(tree *modprobe.Tree, module string, params []string, why string) (loaded int) {
	if modprobe.Present(s.Sysfs, module) {
		s.checkValues(module, params)
		return 0
	}
	steps, err := tree.Plan(module)
	if err != nil {
		s.Log.Printf("%s is not loaded: %v", module, err)
		return 0
	}
	if len(steps) == 0 {
		s.Log.Printf("%s is built in (%s)", module, why)
		s.checkValues(module, params)
		return 0
	}
	if s.forbidden(module, steps, why) {
		return 0
	}
	for _, step := range steps {
		if s.config.never[step.Module] || s.failed[step.Module] && step.Soft || modprobe.Present(s.Sysfs, step.Module) {
			continue
		}
		if !s.loadStep(step, module, params, why) {
			s.failed[module] = true
			return loaded
		}
		loaded++
	}
	return loaded
}

// loadStep loads one of the modules that a module consists of or needs. It
// returns false if the module cannot be loaded without it.
func (s *Service) loadStep(step modprobe.Step, module string, params []string, why string) bool {
	if step.Module == module {
		return s.insertOne(step, params, why) || step.Soft
	}
	if s.failed[step.Module] {
		s.Log.Printf("%s is not loaded (%s): it needs %s, which could not be loaded", module, why, step.Module)
		return false
	}
	return s.insertOne(step, s.config.params[step.Module], module+" needs it") || step.Soft
}

// forbidden reports whether one of the modules that are needed is never to be
// loaded.
func (s *Service) forbidden(module string, steps []modprobe.Step, why string) bool {
	i := slices.IndexFunc(steps, func(step modprobe.Step) bool { return !step.Soft && s.config.never[step.Module] })
	if i < 0 {
		return false
	}
	s.failed[module] = true // said once
	s.Log.Printf("%s is not loaded (%s): it needs %s, which %s names under never", module, why, steps[i].Module, s.File)
	return true
}

// insertOne loads one file and reports whether the module is there now.
func (s *Service) insertOne(step modprobe.Step, params []string, reason string) bool {
	s.checkNames(step, params)
	all := append(modprobe.Params(s.boot, step.Module), params...)
	loaded, err := s.insert(step.File, all)
	if err != nil {
		s.failed[step.Module] = true
		s.Log.Printf("%s (%s): %v", step.Module, reason, err)
		return false
	}
	if loaded {
		text := "loaded " + step.Module
		if len(all) > 0 {
			text += " " + strings.Join(all, " ")
		}
		s.Log.Printf("%s: %s", text, reason)
	}
	return true
}

// checkNames names parameters that the module does not have: the kernel loads
// it all the same.
func (s *Service) checkNames(step modprobe.Step, params []string) {
	if len(params) == 0 {
		return
	}
	text, err := os.ReadFile(step.File)
	if err != nil {
		return // the kernel will say the same
	}
	known := paramNames(text)
	for _, p := range params {
		name, _, _ := strings.Cut(p, "=")
		if !slices.Contains(known, modprobe.Normalize(name)) && name != "async_probe" && name != "dyndbg" {
			s.Log.Printf("%s: %s has no parameter %s; it has: %s", s.File, step.Module, name, strings.Join(known, " "))
		}
	}
}

// paramNames returns the parameters of a module. Its section .modinfo has
// "parmtype=NAME:TYPE" for each, between zero bytes.
func paramNames(module []byte) (names []string) {
	mark := []byte("\x00parmtype=")
	for {
		_, rest, found := bytes.Cut(module, mark)
		if !found {
			return names
		}
		name, _, _ := bytes.Cut(rest[:min(len(rest), 256)], []byte(":"))
		names = append(names, modprobe.Normalize(string(name)))
		module = rest
	}
}

// checkValues logs the parameters of a module that was already there, if they
// differ from the user's file: they can be given only when a module is loaded.
func (s *Service) checkValues(module string, params []string) {
	for _, p := range params {
		name, want, _ := strings.Cut(p, "=")
		text, err := os.ReadFile(filepath.Join(s.Sysfs, "module", module, "parameters", modprobe.Normalize(name)))
		is := strings.TrimSpace(string(text))
		if err != nil || !simple(is) || !simple(want) || number(is) == number(want) {
			continue
		}
		s.Log.Printf("%s: %s was already loaded, with %s=%s instead of %s: write %s.%s=%s on the kernel command line", s.File, module, name, is, want, module, name, want)
	}
}

// simple reports whether a value is a number, or the kernel's Y or N. Other values
// the kernel may show in another form than they were given in.
func simple(value string) bool {
	return value == "Y" || value == "N" || value != "" && strings.Trim(value, "0123456789") == ""
}

func number(value string) string {
	switch value {
	case "Y":
		return "1"
	case "N":
		return "0"
	}
	return value
}
