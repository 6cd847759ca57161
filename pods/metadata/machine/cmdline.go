package machine

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"kios/internal/cmdline"
)

const maxCmdline = 64 << 10

// Words returns the kernel command line.
func (v View) Words() (cmdline.Params, error) {
	text, err := readIfThere(v.Cmdline, maxCmdline)
	if err != nil {
		return nil, fmt.Errorf("read the kernel command line: %w", err)
	}
	return cmdline.Parse(string(text)), nil
}

// Config says where user data are that the kernel command line names.
type Config struct {
	URL    string
	SHA256 string // in hexadecimal digits; "" if the command line has none
}

// FindConfig returns what kios.config= and kios.config.sha256= name, or nil.
func FindConfig(words cmdline.Params) (*Config, error) {
	address, found := words.Last("kios.config")
	sum, summed := words.Last("kios.config.sha256")
	if !found && !summed {
		return nil, nil
	}
	if !isHTTP(address) {
		return nil, fmt.Errorf("kernel command line: kios.config=%q is not used: it must be an http or https URL", address)
	}
	if raw, err := hex.DecodeString(sum); summed && (err != nil || len(raw) != 32) {
		return nil, fmt.Errorf("kernel command line: kios.config.sha256=%q must be the 64 digits that sha256sum prints; without them, kios.config is not used", sum)
	}
	return &Config{URL: address, SHA256: sum}, nil
}

func isHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// Seed is where NoCloud's files are, and what it says in place of them. See the page
// NoCloud of cloud-init's documentation.
type Seed struct {
	URL      string // the files' names are added to it
	Hostname string
	ID       string
}

// FindSeed reads "nocloud;s=URL;h=NAME;i=ID", the value of ds= on the kernel command line
// or behind it in the machine's serial number. It is nil for what names no URL.
func FindSeed(text string) (*Seed, error) {
	kind, rest, _ := strings.Cut(text, ";")
	if kind != "nocloud" && kind != "nocloud-net" {
		return nil, nil
	}
	seed := &Seed{}
	for word := range strings.SplitSeq(rest, ";") {
		seed.set(word)
	}
	if seed.URL == "" {
		return nil, nil
	}
	if !isHTTP(seed.URL) {
		return nil, fmt.Errorf("ds=%s: %q is not used: s= must be an http or https URL", kind, seed.URL)
	}
	return seed, nil
}

func (s *Seed) set(word string) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "s", "seedfrom":
		s.URL = value
	case "h", "local-hostname":
		s.Hostname = value
	case "i", "instance-id":
		s.ID = value
	}
}
