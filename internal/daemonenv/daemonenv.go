// Package daemonenv reads the environment that a user gives containerd and the kubelet, in
// /etc/kios/environment.yaml:
//
//	environment:            # of both
//	  HTTPS_PROXY: http://proxy.example:3128
//	  NO_PROXY: "10.0.0.0/8,.example"
//	kubelet:                # of one; or containerd
//	  AWS_PROFILE: a
//
// That is all of YAML that it knows: maps of texts, in one line each. PID 1 reads it, and
// does without a library for YAML. A bad line is named and left out.
package daemonenv

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kios/internal/userfile"
)

// File is where the environment is, below /etc.
const File = "kios/environment.yaml"

// Bounds of an environment. The kernel has a bound for it, too, beyond which no program
// starts (execve(2), E2BIG).
const (
	maxFile  = 32 << 10 // bytes
	maxCount = 64
	maxBad   = 16 // lines that are named
)

// sections are the keys of the file, by daemon.
const both = "environment"

var sections = []string{both, "containerd", "kubelet"}

// Read returns the variables of a daemon, as NAME=VALUE, and what is wrong with the file.
// Of a name that is there twice, that of the daemon counts, or else the last one.
func Read(path, daemon string) (variables []string, bad error) {
	text, err := userfile.ReadIfThere(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s is not used: %w", path, userfile.Reason(err))
	}
	p := parser{path: path, values: map[string]map[string]string{}}
	for line := range strings.Lines(string(text)) {
		p.number++
		if err := p.line(line); err != nil {
			p.name(err)
		}
	}
	all := map[string]string{}
	for _, section := range []string{both, daemon} {
		for name, value := range p.values[section] {
			all[name] = value
		}
	}
	for name, value := range all {
		variables = append(variables, name+"="+value)
	}
	slices.Sort(variables)
	return variables, errors.Join(p.bad...)
}

// parser reads a file line by line.
type parser struct {
	path    string
	number  int
	section string // "" for one that is not known
	count   int
	values  map[string]map[string]string
	bad     []error
}

func (p *parser) name(err error) {
	switch len(p.bad) {
	case maxBad:
		p.bad = append(p.bad, fmt.Errorf("%s: more lines are left out", p.path))
	case maxBad + 1:
	default:
		p.bad = append(p.bad, fmt.Errorf("%s, line %d is left out: %w", p.path, p.number, err))
	}
}

func (p *parser) line(line string) error {
	text := strings.TrimRight(line, " \t\r\n")
	body := strings.TrimLeft(text, " ")
	if body == "" || body[0] == '#' || text == "---" {
		return nil
	}
	key, rest, found := strings.Cut(body, ":")
	if !found || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return fmt.Errorf("%.40q has no colon (lines are NAME: VALUE)", body)
	}
	value, err := scalar(strings.TrimSpace(rest))
	if err != nil {
		return err
	}
	if body == text {
		return p.begin(key, value)
	}
	return p.set(key, value)
}

// begin is for a line that is not indented.
func (p *parser) begin(key, value string) error {
	p.section = ""
	if !slices.Contains(sections, key) {
		return fmt.Errorf("%.40q is none of %s", key, strings.Join(sections, ", "))
	}
	p.section = key
	if value != "" && value != "{}" {
		return fmt.Errorf("put the variables of %s below it, one a line", key)
	}
	return nil
}

// set is for a variable.
func (p *parser) set(name, value string) error {
	if p.section == "" {
		return fmt.Errorf("%.40q is below none of %s", name, strings.Join(sections, ", "))
	}
	if err := check(name, value); err != nil {
		return err
	}
	if p.count++; p.count > maxCount {
		return fmt.Errorf("there are more than %d variables", maxCount)
	}
	if p.values[p.section] == nil {
		p.values[p.section] = map[string]string{}
	}
	p.values[p.section][name] = value
	return nil
}

// scalar reads a text of YAML in one line: plain, or in quotes.
func scalar(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	quote := text[0]
	switch {
	case quote == '"' || quote == '\'':
		return quoted(text, quote)
	case strings.ContainsRune("|>&*![", rune(quote)) || quote == '{' && text != "{}":
		return "", fmt.Errorf("%.40q is no text in one line: put it in quotes", text)
	case quote == '#':
		return "", nil
	}
	text, _, _ = strings.Cut(text, " #")
	if text = strings.TrimSpace(text); slices.Contains(nulls, text) {
		return "", nil
	}
	return text, nil
}

// nulls are how YAML writes that there is no value.
var nulls = []string{"~", "null", "Null", "NULL"}

func quoted(text string, quote byte) (string, error) {
	if i := strings.LastIndex(text, string(quote)+" #"); i > 0 {
		text = text[:i+1]
	}
	if quote == '"' {
		value, err := strconv.Unquote(text)
		if err != nil {
			return "", fmt.Errorf("%.40q is no text in quotes", text)
		}
		return value, nil
	}
	if len(text) < 2 || text[len(text)-1] != quote {
		return "", fmt.Errorf("%.40q is no text in quotes", text)
	}
	return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), nil
}

// refused are names, and beginnings of names, that would break a daemon.
var refused = []struct {
	name   string
	prefix bool
	why    string
}{
	{"PATH", false, "the daemons find the node's programs by it"},
	{"HOME", false, "the node has none but /root"},
	{"TMPDIR", false, "the node's temporary files are in /tmp"},
	{"NOTIFY_", true, "PID 1 and the daemons talk by it"},
	{"WATCHDOG_", true, "PID 1 and the daemons talk by it"},
	{"LISTEN_", true, "PID 1 and the daemons talk by it"},
	{"KIOS_", true, "PID 1 and the daemons talk by it"},
	{"GOGC", false, "the daemons bound their memory by it"},
	{"GOMEMLIMIT", false, "the daemons bound their memory by it"},
	{"GOMAXPROCS", false, "the daemons use all processors"},
	{"GOTRACEBACK", false, "a daemon that hangs could not say why"},
	{"LD_", true, "the node's programs need no libraries"},
}

func check(name, value string) error {
	if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" || name[0] >= '0' && name[0] <= '9' {
		return fmt.Errorf("%.40q is no name of a variable", name)
	}
	if strings.ContainsAny(value, "\x00\n\r") {
		return fmt.Errorf("%s: the value has more than one line", name)
	}
	for _, r := range refused {
		if name == r.name || r.prefix && strings.HasPrefix(name, r.name) {
			return fmt.Errorf("%s cannot be set: %s", name, r.why)
		}
	}
	return nil
}
