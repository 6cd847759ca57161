package chrony

import (
	"errors"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

const offered = "192.0.2.1\n2001:db8::1\n"
const asOffered = "server 192.0.2.1 iburst\nserver 2001:db8::1 iburst\n"

// choices are what files say and what becomes of it.
var choices = []struct {
	name       string
	file, dhcp string
	want       string // chrony's lines
	from       string
	ptp        bool
	err        string
}{
	{"nothing", "", "", "", "DHCP", true, ""},
	{"DHCP", "# nothing yet\n", offered, asOffered, "DHCP", true, ""},
	{"the file wins", "servers: [ntp.example]\n", offered, "server ntp.example iburst trust\n", "time.yaml", true, ""},
	{"a pool, too", "servers: [192.0.2.9]\npools:\n  - pool.example\n", offered, "server 192.0.2.9 iburst trust\npool pool.example iburst trust\n", "time.yaml", true, ""},
	{"all fields", "servers:\n  - {address: a.example, iburst: false, nts: true, prefer: true}\n", "", "server a.example nts prefer trust\n", "time.yaml", true, ""},
	{"switched off", "servers: []\n", offered, "", "time.yaml", true, ""},
	{"the host's clock off", "ptp: false\n", offered, asOffered, "DHCP", false, ""},
	{"all off", "servers: []\nptp: false\n", offered, "", "time.yaml", false, ""},
	{"null is not there", "servers:\npools: null\n", offered, asOffered, "DHCP", true, ""},
	{"twice", "servers: [a.example, A.example]\n", "", "server a.example iburst trust\n", "time.yaml", true, ""},
	{"link-local", "servers: [\"fe80::1%eth0\"]\n", "", "server fe80::1%eth0 iburst trust\n", "time.yaml", true, ""},

	{"unknown field", "sources: []\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, `time.yaml: there is no field "sources"`},
	{"unknown field of a server", "servers: [{address: a, port: 1}]\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, `time.yaml: servers[0]: there is no field "port"`},
	{"switched off, and a mistake elsewhere", "servers: []\nptp: 3\n", offered, "", "time.yaml", true, "the field ptp is a number"},
	{"one mistake of two", "servers: [{address: a, port: 1}, b.example]\nptp: false\n", offered, "server b.example iburst trust\n", "time.yaml", false, `servers[0]: there is no field "port"`},
	{"a field beside", "servers: [b.example]\nsources: []\n", offered, "server b.example iburst trust\n", "time.yaml", true, `there is no field "sources"`},
	{"proof, and a mistake beside", "servers: [{address: a.example, nts: true}]\nptp: 3\n", offered, "server a.example iburst nts trust\n", "time.yaml", true, "the field ptp is a number"},
	{"proof, and a mistake in the entry", "servers: [{address: a, nts: true, port: 1}]\n", offered, "", "time.yaml", true, `there is no field "port"`},
	{"proof, and a mistake in the name", "serves: [{address: a, nts: true}]\n", offered, "", "time.yaml", true, `there is no field "serves"`},
	{"proof, and no list", "servers: {address: a, nts: true}\n", offered, "", "time.yaml", true, "the field servers is an object, but must be a list"},
	{"proof, and no YAML", "servers: [{address: a, nts: true}\n", offered, "", "time.yaml", true, "time.yaml: "},
	{"proof, twice", "servers: [{address: a, nts: true}]\nservers: [b]\n", offered, "", "time.yaml", true, "is there twice"},
	{"no address", "servers: [{nts: true}]\n", offered, "", "time.yaml", true, `needs the field address`},
	{"wrong type", "servers: a\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, "time.yaml: the field servers is a string, but must be a list"},
	{"wrong type of a server", "servers: [3]\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, "time.yaml: "},
	{"wrong type of a field", "servers: [{address: a, nts: 3}]\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, "nts is a number, but must be true or false"},
	{"binary", "\x00", offered, asOffered, "DHCP, because of the mistakes in time.yaml", true, "binary data"},
	{"one of two", "servers: [\"a b\", c.example]\n", offered, "server c.example iburst trust\n", "time.yaml", true, `time.yaml: servers[0]: "a b" is neither`},
	{"none of one", "pools: [10.0.0.300]\nptp: false\n", offered, asOffered, "DHCP, because of the mistakes in time.yaml", false, `time.yaml: pools[0]: "10.0.0.300" is neither`},
	{"an empty name", "servers: [\"\"]\n", "", "", "DHCP, because of the mistakes in time.yaml", true, `servers[0]: "" is neither`},
	{"a new line", "servers: [\"a\\nallow all\"]\n", "", "", "DHCP, because of the mistakes in time.yaml", true, `"a\nallow all" is neither`},
	{"an option", "servers: [\"-a\"]\n", "", "", "DHCP, because of the mistakes in time.yaml", true, `"-a" is neither`},
	{"a comment", "servers: [\"#a\"]\n", "", "", "DHCP, because of the mistakes in time.yaml", true, `"#a" is neither`},
	{"a wicked zone", "servers: [\"fe80::1%a port 9\"]\n", "", "", "DHCP, because of the mistakes in time.yaml", true, `is neither`},
	{"rubbish from DHCP", "", "192.0.2.1 port 9\n\n  192.0.2.2  \n", "server 192.0.2.2 iburst\n", "DHCP", true, `DHCP: "192.0.2.1 port 9" is neither`},
}

func TestChoose(t *testing.T) {
	for _, tt := range choices {
		t.Run(tt.name, func(t *testing.T) {
			c, errs := choose("time.yaml", []byte(tt.file), []byte(tt.dhcp))
			if d := cmp.Diff(tt.want, sourceFile(c.sources)); d != "" {
				t.Errorf("lines (-want +got):\n%s", d)
			}
			if c.from != tt.from || c.ptp != tt.ptp {
				t.Errorf("from %q, ptp %v, want %q, %v", c.from, c.ptp, tt.from, tt.ptp)
			}
			switch err := errors.Join(errs...); {
			case tt.err == "" && err != nil:
				t.Errorf("errors: %v", err)
			case tt.err != "" && (len(errs) != 1 || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n")):
				t.Errorf("errors: %v, want one line with %q", errs, tt.err)
			}
		})
	}
}

func TestManyFromDHCP(t *testing.T) {
	c, errs := choose("time.yaml", nil, []byte(strings.Repeat("a.example\nb.example\n", 9)+manyNames(40)))
	if len(errs) > 0 || len(c.sources) != maxDHCP {
		t.Errorf("%d sources, %v, want %d", len(c.sources), errs, maxDHCP)
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("s" + strings.Repeat("x", i) + ".example\n")
	}
	return b.String()
}

// Whatever is in the files, chronyd gets lines of words that it knows.
func FuzzChoose(f *testing.F) {
	f.Add("servers: [a.example]\n", "192.0.2.1\n")
	f.Add("servers: [{address: \"a\\tport 1\", nts: true}]\npools: [\"%a\"]\n", "a\rb\n")
	known := []string{"iburst", "nts", "prefer", "trust"}
	f.Fuzz(func(t *testing.T, file, dhcp string) {
		var c choice
		if took := lab.Allocated(func() { c, _ = choose("time.yaml", nil, []byte(dhcp)) }); took > 64<<10+16*uint64(len(dhcp)) {
			t.Errorf("%d bytes of DHCP became %d", len(dhcp), took)
		}
		c, _ = choose("time.yaml", []byte(file), []byte(dhcp))
		for line := range strings.SplitSeq(strings.TrimSuffix(sourceFile(c.sources), "\n"), "\n") {
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if len(words) < 2 || !slices.Contains([]string{"server", "pool"}, words[0]) || strings.ContainsAny(words[1], "#!;\"'") {
				t.Errorf("line %q", line)
			}
			for _, w := range words[2:] {
				if !slices.Contains(known, w) {
					t.Errorf("line %q has the word %q", line, w)
				}
			}
		}
	})
}

// What the file said counts on when it cannot be read any more.
func TestUnreadableFile(t *testing.T) {
	var lines strings.Builder
	s := &Service{Etc: t.TempDir(), NetworkDir: t.TempDir(), Log: log.New(&lines, "", 0)}
	path := filepath.Join(s.Etc, "kios/time.yaml")
	lab.WriteFile(t, path, "servers: [192.0.2.9]\n")
	before := sourceFile(s.read().sources)
	lab.Must(t, os.Remove(path))
	lab.Must(t, os.Symlink("../elsewhere/time.yaml", path))
	if after := sourceFile(s.read().sources); after != before || !strings.Contains(lines.String(), "time.yaml is a link to ../elsewhere/time.yaml") {
		t.Errorf("sources %q, before %q; log %q", after, before, &lines)
	}
}
