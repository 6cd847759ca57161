package joincmd

import (
	"fmt"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/want"
)

// Ignition knows no templates: in their place, Cluster API's templates for Flatcar have
// the script fill in a configuration with envsubst(1), from variables that coreos-metadata
// or Afterburn make of a cloud's metadata.

// variable is what envsubst fills in.
var variable = lazyregexp.New(`\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))`)

// variables are the ends of names that mean the same in all clouds.
var variables = []struct {
	end   string
	value func(*want.Machine) string
}{
	{"_HOSTNAME", func(m *want.Machine) string { return m.Hostname }},
	{"_INSTANCE_ID", func(m *want.Machine) string { return m.ID }},
	{"_INSTANCE_UUID", func(m *want.Machine) string { return m.ID }},
	{"_REGION", func(m *want.Machine) string { return m.Region }},
	{"_AVAILABILITY_ZONE", func(m *want.Machine) string { return m.Zone }},
	{"_IPV4_LOCAL", localIPv4},
	{"_IPV4_PRIVATE", localIPv4},
	{"_IPV4_PRIVATE_0", localIPv4},
}

func localIPv4(m *want.Machine) string {
	for _, a := range m.Addresses {
		if a.Is4() {
			return a.String()
		}
	}
	return ""
}

// envsubst fills in what a configuration has of the machine's metadata. A name without a
// value is an error: no node is to join under a wrong name.
func envsubst(text []byte, m *want.Machine) ([]byte, error) {
	var out []byte
	var missing error
	for {
		at := variable().FindIndex(text)
		if at == nil {
			at = []int{len(text), len(text)}
		}
		name := strings.Trim(string(text[at[0]:at[1]]), "${}")
		value := lookup(name, m)
		out = append(append(out, text[:at[0]]...), value...)
		text = text[at[1]:]
		switch {
		case len(out) > maxText: // values are longer than their names
			return nil, fmt.Errorf("the configuration is longer than %d bytes", maxText)
		case name == "":
			return out, missing
		case value == "" && missing == nil:
			missing = fmt.Errorf("this machine has no %.100q, which the configuration asks for", name)
		}
	}
}

func lookup(name string, m *want.Machine) string {
	for _, v := range variables {
		if strings.HasSuffix(name, v.end) {
			return v.value(m)
		}
	}
	return ""
}
