package debian

import (
	"fmt"
	"strings"
)

// targetFormat makes `apt-get indextargets` print one line for each index of
// the host's sources. A field that apt does not know stays as it is written
// here: the origin is known only once the host's lists were fetched.
const targetFormat = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"

// mirrors are the places that serve the host's own release.
type mirrors struct{ main, security string }

// parseMirrors finds them in the output of `apt-get indextargets`. It takes
// the first of several, as apt does, and Debian's own if this host is no Debian.
func parseMirrors(out string) mirrors {
	var m mirrors
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 || f[2] != "main" || !fromDebian(f[0], f[3]) || strings.HasPrefix(f[0], "cdrom:") {
			continue
		}
		switch kind := suiteKind(f[1]); {
		case kind == kindMain && m.main == "":
			m.main = f[0]
		case kind == kindSecurity && m.security == "":
			m.security = f[0]
		}
	}
	if m.main == "" && m.security == "" {
		return standard // Ubuntu, for example
	}
	return m
}

// standard is where Debian itself serves its archive, for hosts of other
// distributions.
var standard = mirrors{main: "http://deb.debian.org/debian", security: "http://deb.debian.org/debian-security"}

// fromDebian believes the address where the origin is not known yet.
func fromDebian(uri, origin string) bool {
	return origin == "Debian" || strings.HasPrefix(origin, "$(") && strings.Contains(uri, "debian")
}

type kind int

const (
	kindOther kind = iota // updates, backports, other vendors' suites
	kindMain
	kindSecurity
)

// suiteKind tells bookworm from bookworm-security and from all others.
func suiteKind(suite string) kind {
	switch {
	case strings.HasSuffix(suite, "-security"):
		return kindSecurity
	case suite != "" && !strings.ContainsAny(suite, "-/"):
		return kindMain
	}
	return kindOther
}

// serving returns the URI under which suite is to be found.
func (m mirrors) serving(suite string) (string, error) {
	uri := m.main
	if suiteKind(suite) == kindSecurity {
		uri = m.security
	}
	if uri == "" {
		return "", fmt.Errorf("no source of this host's apt serves a suite like %s (add one to /etc/apt/sources.list)", suite)
	}
	return uri, nil
}
