package modules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kios/internal/cmdline"
	"kios/internal/modprobe"
	"kios/pods/settings"
)

// config is what the user's file asks for.
type config struct {
	load   []entry
	params map[string][]string // of modules, as finit_module(2) takes them
	never  map[string]bool
}

// entry is a module, or an alias of some, that is to be loaded.
type entry struct {
	name   string
	params []string
}

// file is the user's file. Its entries are looked at one by one, so that a
// mistake in one costs only that one.
type file struct {
	Load  []json.RawMessage `json:"load"`
	Never []json.RawMessage `json:"never"`
}

// readConfig reads the user's file. The errors tell what is wrong with it. If
// the file as a whole cannot be read, ok is false. Otherwise the config holds all
// entries that are right.
func readConfig(path string) (c config, ok bool, errs []error) {
	var f file
	if err := settings.Read(path, &f); err != nil {
		return config{}, false, []error{err}
	}
	c = config{params: map[string][]string{}, never: map[string]bool{}}
	for i, raw := range f.Never {
		name, err := parseName(raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: never[%d] %w", path, i, err))
			continue
		}
		c.never[modprobe.Normalize(name)] = true
	}
	for i, raw := range f.Load {
		if err := c.addLoad(fmt.Sprintf("%s: load[%d]", path, i), raw); err != nil {
			errs = append(errs, err)
		}
	}
	return c, true, errs
}

func (c *config) addLoad(where string, raw json.RawMessage) error {
	e, err := parseEntry(where, raw)
	if err != nil {
		return err
	}
	module := modprobe.Normalize(e.name)
	if c.never[module] {
		return fmt.Errorf("%s: %s is also named under never, so it is not loaded: remove it from one of the two", where, e.name)
	}
	if slices.ContainsFunc(c.load, func(o entry) bool { return modprobe.Normalize(o.name) == module }) {
		return fmt.Errorf("%s: %s is there twice; only the first entry counts", where, e.name)
	}
	c.load = append(c.load, e)
	c.params[module] = e.params
	return nil
}

// parseEntry takes a name, or a map of a name and parameters.
func parseEntry(where string, raw json.RawMessage) (entry, error) {
	if raw[0] != '{' {
		name, err := parseName(raw)
		if err != nil {
			return entry{}, fmt.Errorf("%s %w, or a map of name and parameters", where, err)
		}
		return entry{name: name}, nil
	}
	var m struct {
		Name       json.RawMessage `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	}
	if err := settings.Parse(where, raw, &m); err != nil {
		return entry{}, err
	}
	name, err := parseName(m.Name)
	if err != nil {
		return entry{}, fmt.Errorf("%s: name %w", where, err)
	}
	params, err := parseParams(m.Parameters)
	if err != nil {
		return entry{}, fmt.Errorf("%s: parameters of %s: %w", where, name, err)
	}
	return entry{name, params}, nil
}

const (
	paramChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
	nameChars  = paramChars + ":*" // an alias may have these
)

// madeOf reports whether s has only characters of a set, and at least one.
func madeOf(set, s string) bool { return s != "" && strings.Trim(s, set) == "" }

func parseName(raw json.RawMessage) (string, error) {
	var name string
	if err := json.Unmarshal(raw, &name); err != nil || name == "" {
		return "", fmt.Errorf("must be the name of a module")
	}
	if !madeOf(nameChars, name) || strings.HasSuffix(name, ".ko") {
		return "", fmt.Errorf("is %q, but must be the name of a module, such as nvme_tcp, not a path or a file", name)
	}
	return name, nil
}

// parseParams takes a map, or a string as on the kernel command line.
func parseParams(raw json.RawMessage) ([]string, error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '"':
		return parseText(raw)
	case raw[0] != '{':
		return nil, fmt.Errorf("they must be a map or a string")
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, err
	}
	var params []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value, err := parseValue(values[name])
		if err == nil {
			err = checkParam(name, value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		params = append(params, name+"="+modprobe.Quote(value))
	}
	return params, nil
}

func parseText(raw json.RawMessage) ([]string, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, err
	}
	var params []string
	for _, p := range cmdline.Parse(text) {
		if err := checkParam(p.Key, p.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Key, err)
		}
		param := p.Key
		if p.HasValue {
			param += "=" + modprobe.Quote(p.Value)
		}
		params = append(params, param)
	}
	return params, nil
}

// checkParam refuses what the kernel would take for something else.
func checkParam(name, value string) error {
	if !madeOf(paramChars, name) {
		return fmt.Errorf("this is not the name of a parameter")
	}
	if strings.ContainsAny(value, "\"\n\r\x00") {
		return fmt.Errorf("a value cannot contain quotation marks or line breaks")
	}
	return nil
}

// parseValue returns a value as the kernel takes it: 1 and 0, which are right
// for numbers as well, for true and false, and commas between those of a list.
func parseValue(raw json.RawMessage) (string, error) {
	switch {
	case string(raw) == "true":
		return "1", nil
	case string(raw) == "false":
		return "0", nil
	case raw[0] == '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return string(raw), nil
	case raw[0] == '[':
		return parseList(raw)
	}
	return "", fmt.Errorf("the value must be a string, a number, true, false, or a list of those")
}

func parseList(raw json.RawMessage) (string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", err
	}
	var values []string
	for _, element := range list {
		value, err := parseValue(element)
		if err != nil {
			return "", err
		}
		values = append(values, value)
	}
	return strings.Join(values, ","), nil
}
