package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/pods/metadata/fetch"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

// env is a machine that is a directory, with these fields of DMI, and has no time to wait.
func env(t testing.TB, dmi map[string]string) Env {
	t.Helper()
	dir := t.TempDir()
	for file, text := range dmi {
		lab.WriteFile(t, filepath.Join(dir, "sys/class/dmi/id", file), text+"\n")
	}
	e := Env{
		View: machine.View{Sys: dir + "/sys", Dev: dir + "/dev", EFIVars: dir + "/efivars", Cmdline: dir + "/cmdline", Scratch: dir},
		Log:  log.New(t.Output(), "", 0),
	}
	e.tune = func(c *fetch.Client) {
		c.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	return e
}

// compare leaves out what templates know, and whose the id is, which have tests of their own.
func compare(t *testing.T, want, got want.Machine) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.IgnoreFields(want, "Jinja", "WeakID", "Had")); diff != "" {
		t.Errorf("Read, -want +got:\n%s", diff)
	}
}

// expect is what a service says, with the user data that all have here.
func (s *service) expect(name string) want.Machine {
	m := s.want
	m.Provider, m.UserData = name, []byte(cloudConfig)
	return m
}

// Each cloud is recognised, and no other for it.
func TestFind(t *testing.T) {
	for name, s := range services {
		found, err := Find(t.Context(), env(t, s.dmi))
		if err != nil || found == nil || found.Name != name {
			t.Errorf("Find on a machine of %s = %+v, %v", name, found, err)
		}
	}
	for _, r := range rows {
		if _, there := services[r.name]; !there && len(r.bases) > 0 {
			t.Errorf("no test has the service of %s", r.name)
		}
	}
}

func TestMatch(t *testing.T) {
	for name, list := range map[string][]machine.DMI{
		"ec2": {{BIOSVersion: "4.11.amazon"}, {ProductUUID: "EC2E1916-9099", ProductSerial: "ec2e1916-9099"}, {BIOSVendor: "Amazon EC2"}},
		"gcp": {{ProductSerial: "GoogleCloud-0123"}},
		"":    {{}, {ProductUUID: "ec2e1916-9099"}, {SysVendor: "QEMU"}, {SysVendor: "Microsoft Corporation"}, {ProductName: "Standard PC (Q35 + ICH9, 2009)"}, {SysVendor: "Hetzner Online"}},
		"openstack": {{ChassisAssetTag: "OpenTelekomCloud"}, {ChassisAssetTag: "SAP CCloud VM"}, {ChassisAssetTag: "HUAWEICLOUD"}, {ChassisAssetTag: "Samsung Cloud Platform"},
			{ProductName: "OpenStack Compute"}},
		"akamai": {{SysVendor: "Linode"}},
		"vmware": {{SysVendor: "VMware, Inc."}},
	} {
		for _, dmi := range list {
			got := ""
			if r := match(dmi); r != nil {
				got = r.name
			}
			if got != name {
				t.Errorf("match(%+v) = %q, want %q", dmi, got, name)
			}
		}
	}
}

// elsewhere has all requests of a machine go to a server of the test.
func elsewhere(t *testing.T, e *Env, h http.Handler) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	tune := e.tune
	e.tune = func(c *fetch.Client) {
		c.Bases = []string{server.URL}
		tune(c)
	}
}

// read finds and reads what there is.
func read(t *testing.T, e Env) want.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	found, err := Find(ctx, e)
	if err != nil || found == nil {
		t.Fatalf("Find = %+v, %v", found, err)
	}
	m, err := found.Read(ctx)
	if err != nil {
		t.Fatalf("Read of %s: %v", found.From, err)
	}
	return m
}

// clone is a service with nothing remembered, which needs no low port where the test is
// not root.
func (s *service) clone() *service {
	return &service{dmi: s.dmi, token: s.token, header: s.header, lowPort: false, answers: maps.Clone(s.answers), must: s.must, want: s.want}
}

// readUnprivileged is read, from any port.
func readFrom(t *testing.T, s *service) want.Machine {
	t.Helper()
	e := env(t, s.dmi)
	elsewhere(t, &e, s)
	found, err := Find(t.Context(), e)
	if err != nil || found == nil {
		t.Fatalf("Find = %+v, %v", found, err)
	}
	r := *match(e.View.DMI())
	r.lowPort = false
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := r.read(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	m.Provider = found.Name
	return m
}

func TestRead(t *testing.T) {
	for name, s := range services {
		t.Run(name, func(t *testing.T) { compare(t, s.expect(name), readFrom(t, s.clone())) })
	}
}

// What is wrong at first counts for nothing.
func TestFaults(t *testing.T) {
	for what, wrong := range map[string]func(w http.ResponseWriter){
		"errors":   func(w http.ResponseWriter) { w.WriteHeader(500) },
		"refusals": func(w http.ResponseWriter) { w.WriteHeader(403) },
		"a page":   func(w http.ResponseWriter) { fmt.Fprint(w, "<!DOCTYPE html><html>Wait a moment.</html>") },
		"too much": func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("a", fetch.Limit+1)) },
		"silence":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		for name, s := range services {
			t.Run(what+" of "+name, func(t *testing.T) {
				s := s.clone()
				s.fault = func(n int, path string, w http.ResponseWriter, _ *http.Request) bool {
					if text := wrong; n == 1 && !(what == "a page" && strings.Contains(path, "network-config")) {
						text(w)
						return true
					}
					return false
				}
				compare(t, s.expect(name), readFrom(t, s))
			})
		}
	}
}

// What a machine cannot do without is waited for; garbage is no such thing.
func TestLate(t *testing.T) {
	for name, s := range services {
		t.Run(name, func(t *testing.T) {
			s := s.clone()
			wrong := []func(w http.ResponseWriter){
				func(w http.ResponseWriter) { w.WriteHeader(404) },
				func(w http.ResponseWriter) { fmt.Fprint(w, "\x00\xff garbage {") },
				func(w http.ResponseWriter) { fmt.Fprint(w, "{}") },
				func(http.ResponseWriter) {},
			}
			s.fault = func(n int, path string, w http.ResponseWriter, r *http.Request) bool {
				late := slices.Contains(s.must, path) && n <= len(wrong) && !(strings.Contains(path, "meta-data") && n == 3) && !strings.Contains(path, "/v1/instance/")
				if late && r.Method == http.MethodGet {
					wrong[n-1](w)
				}
				return late
			}
			compare(t, s.expect(name), readFrom(t, s))
		})
	}
}

// A machine without user data is one all the same.
func TestNoUserData(t *testing.T) {
	for name, s := range services {
		t.Run(name, func(t *testing.T) {
			s := s.empty()
			m := s.expect(name)
			m.UserData = nil
			if name == "digitalocean" {
				m.Network = &want.Network{Format: name, Text: []byte(s.answers["/metadata/v1.json"])}
			}
			compare(t, m, readFrom(t, s))
		})
	}
}

// userDataPaths are where services have user data by themselves.
func (s *service) userDataPath() string {
	for path := range s.answers {
		if strings.HasSuffix(path, "user-data") || strings.HasSuffix(path, "user_data") || strings.HasSuffix(path, "userdata") || strings.HasSuffix(path, "/cloud-init") {
			return path
		}
	}
	return ""
}

// empty is the service without user data, by 404 or, in a document, by nothing.
func (s *service) empty() *service {
	s = s.clone()
	delete(s.answers, s.userDataPath())
	for path, body := range s.answers {
		s.answers[path] = strings.NewReplacer(`"`+packed+`"`, `""`, `"#cloud-config\nhostname: x\n"`, "null").Replace(body)
	}
	return s
}

// readAgain reads from a machine whose metadata had these before.
func readAgain(t *testing.T, s *service, had []string) (m want.Machine, waits int, said string) {
	t.Helper()
	e := env(t, s.dmi)
	text := &lab.Buffer{}
	e.Had, e.Log = had, log.New(text, "", 0)
	e.tune = func(c *fetch.Client) {
		c.Wait = func(ctx context.Context, _ time.Duration) error { waits++; return ctx.Err() }
	}
	elsewhere(t, &e, s)
	r := *match(e.View.DMI())
	r.lowPort = false
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := r.read(ctx, e)
	lab.Must(t, err)
	return m, waits, text.String()
}

// What a machine had before is not taken for gone because the service does not know it for a
// moment, whatever it says instead; only when it stays gone.
func TestHad(t *testing.T) {
	for name, s := range services {
		before, _, _ := readAgain(t, s.clone(), nil)
		gone := map[string]func(w http.ResponseWriter){"": nil}
		if s.userDataPath() != "" {
			gone = map[string]func(w http.ResponseWriter){
				"404":   func(w http.ResponseWriter) { w.WriteHeader(404) },
				"204":   func(w http.ResponseWriter) { w.WriteHeader(204) },
				"blank": func(w http.ResponseWriter) { fmt.Fprint(w, "\n") },
				"empty": func(http.ResponseWriter) {},
			}
		}
		for what, answer := range gone {
			t.Run(name+" "+what, func(t *testing.T) {
				late, none := s.clone(), s.empty()
				late.fault = func(n int, path string, w http.ResponseWriter, r *http.Request) bool {
					switch {
					case r.Method != http.MethodGet || n > 3 || path == s.userDataPath() && answer == nil:
						return false
					case path == s.userDataPath():
						answer(w)
						return true
					case s.userDataPath() == "" && slices.Contains(s.must, path):
						fmt.Fprint(w, none.answers[path])
						return true
					}
					return false
				}
				m, waits, said := readAgain(t, late, before.Had)
				if string(m.UserData) != cloudConfig || waits != 3 || !strings.Contains(said, "it was there before, and is not now") {
					t.Errorf("after three such answers, the user data are %q (%d pauses); the log says\n%s", m.UserData, waits, said)
				}
				if m, waits, said = readAgain(t, none, before.Had); len(m.UserData) > 0 || waits != 6 || !strings.Contains(said, "it is not there any more") {
					t.Errorf("without user data, they are %q (%d pauses); the log says\n%s", m.UserData, waits, said)
				}
				if again, waits, _ := readAgain(t, none, m.Had); len(again.UserData) > 0 || waits != 0 {
					t.Errorf("once they are gone, there are %d pauses", waits)
				}
			})
		}
	}
}

// Azure may take the disc away once the machine has it: then nobody knows what was on it.
func TestGone(t *testing.T) {
	s := services["azure"]
	m, waits, _ := readAgain(t, s.empty(), []string{azureDisc})
	if !m.Gone || waits != 0 || !slices.Contains(m.Had, azureDisc) {
		t.Errorf("without the disc: %+v, %d pauses", m, waits)
	}
	if m, _, _ := readAgain(t, s.clone(), []string{azureDisc}); m.Gone || string(m.UserData) != cloudConfig {
		t.Errorf("with user data of the service: %+v", m)
	}
	if m, _, _ := readAgain(t, s.empty(), nil); m.Gone {
		t.Errorf("without a disc ever: %+v", m)
	}
}

func TestPages(t *testing.T) {
	for text, bad := range map[string]bool{
		"<!DOCTYPE html>": true, "\ufeff\r\n <HTML lang=en>": true, "<?xml version=\"1.0\"?>": true, "<!-- squid --><html>": true, "<h1>502</h1>": true,
		"": false, cloudConfig: false, "<powershell>": false, "<script>": false, "# <html>": false, "<htmlx": false,
	} {
		if err := checkUserData([]byte(text)); (err != nil) != bad {
			t.Errorf("checkUserData(%q) = %v", text, err)
		}
	}
}

// It is the same with files of NoCloud, and with a URL.
func TestHadOfServer(t *testing.T) {
	for _, line := range []string{"ds=nocloud;s=%s/", "kios.config=%s/user-data"} {
		answers := map[string]string{"/user-data": cloudConfig, "/meta-data": "instance-id: a\n", "/network-config": "version: 2\n"}
		asked := map[string]int{}
		e := env(t, nil)
		e.Had = []string{userDataFile, metaDataFile, networkFile}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked[r.URL.Path]++; asked[r.URL.Path] > 2 {
				fmt.Fprint(w, answers[r.URL.Path])
			}
		}))
		defer server.Close()
		write(t, e, fmt.Sprintf(line, server.URL), nil)
		if m := read(t, e); string(m.UserData) != cloudConfig || strings.HasPrefix(line, "ds") && (m.Network == nil || m.ID != "a" || len(m.Had) != 3) {
			t.Errorf("%s: %+v", line, m)
		}
	}
}

func TestJinja(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"ec2": {"ds.meta_data.local_hostname": "ip-10-0-0-7.example.internal", "v1.local_hostname": "ip-10-0-0-7", "instance_id": "i-0123456789abcdef0",
			"ds.meta_data.placement.availability_zone": "eu-central-1a", "ds.meta_data.services.domain": "amazonaws.com", "v1.region": "eu-central-1", "ds.meta_data.local_ipv4": "10.0.0.7"},
		"openstack": {"local_hostname": "node-1", "ds.meta_data.local_hostname": "node-1.novalocal", "ds.meta_data.meta.role": "worker", "ds.meta_data.instance_id": "d8e02d56-2648-49a3-bf97-6be8f1204f38"},
		"oracle":    {"ds.id": "ocid1.instance.oc1.phx.abc", "ds.metadata.user_data": ""},
		"azure": {"ds.meta_data.local_hostname": "VM-1", "ds.meta_data.compute.userData": "", "ds.meta_data.imds.compute.userData": "",
			"ds.meta_data.imds.network.interface.0.ipv4.ipAddress.0.privateIpAddress": "10.144.0.4"},
		"hetzner": {"ds.meta_data.instance_id": "42", "ds.meta_data.region": "eu-central", "v1.region": "fsn1"},
	} {
		m := readFrom(t, services[name].clone())
		for key, value := range want {
			if got := m.Jinja[key]; got != value {
				t.Errorf("%s: %s = %q, want %q", name, key, got, value)
			}
		}
	}
}

// A cloud's names are for its own controller, and the node's must be such.
func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 40)
	for name, want := range map[string]string{
		"Node-1": "node-1", "node.example.com.": "node.example.com", "a_b": "", "My node": "", "": "", "-a": "", long + "." + long: long, long + long: "", "a/../b": "",
	} {
		if got := hostname(name); got != want {
			t.Errorf("hostname(%q) = %q, want %q", name, got, want)
		}
	}
}

func write(t *testing.T, e Env, cmdline string, files map[string]string) {
	t.Helper()
	lab.WriteFile(t, e.View.Cmdline, cmdline+"\n")
	for path, text := range files {
		lab.WriteFile(t, filepath.Join(filepath.Dir(e.View.Sys), path), text)
	}
}

const (
	secureBoot = "efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	kiosVar    = "-3a3ae00f-cf4d-4977-8766-8ea575f6bf4f"
	tables     = "\x0b\x05\x00\x00\x01io.systemd.credential:kios.user-data=" + cloudConfig + "\x00\x00"
)

// The first of the sources counts, and under Secure Boot those that are signed.
func TestOrder(t *testing.T) {
	all := map[string]string{"sys/firmware/dmi/tables/DMI": tables, "efivars/Hostname" + kiosVar: "\a\x00\x00\x00node"}
	secure := map[string]string{"sys/firmware/dmi/tables/DMI": tables, secureBoot: "\x06\x00\x00\x00\x01"}
	for name, c := range map[string]struct {
		cmdline string
		files   map[string]string
		dmi     map[string]string
		want    string
	}{
		"command line":               {"kios.config=http://h/", all, services["ec2"].dmi, "cmdline"},
		"NoCloud on it":              {"ds=nocloud;s=http://h/", all, services["ec2"].dmi, "nocloud"},
		"variables":                  {"quiet", all, services["ec2"].dmi, "uefi"},
		"SMBIOS":                     {"quiet", map[string]string{"sys/firmware/dmi/tables/DMI": tables}, services["ec2"].dmi, "smbios"},
		"serial number":              {"quiet", nil, map[string]string{"product_serial": "ds=nocloud;s=http://h/"}, "nocloud"},
		"another serial number":      {"quiet", nil, map[string]string{"product_serial": "ds=other;s=http://h/"}, ""},
		"cloud":                      {"quiet", nil, services["ec2"].dmi, "ec2"},
		"nothing":                    {"quiet", nil, nil, ""},
		"secure command line":        {"kios.config=http://h/ ds=nocloud;s=http://h/", secure, services["ec2"].dmi, "ec2"},
		"secure SMBIOS":              {"", secure, nil, ""},
		"Secure Boot that is off":    {"", map[string]string{"sys/firmware/dmi/tables/DMI": tables, secureBoot: "\x06\x00\x00\x00\x00"}, nil, "smbios"},
		"bad config and Secure Boot": {"kios.config=x", secure, services["ec2"].dmi, "ec2"},
		"bad seed and Secure Boot":   {"ds=nocloud;s=x", secure, services["ec2"].dmi, "ec2"},
	} {
		t.Run(name, func(t *testing.T) {
			e := env(t, c.dmi)
			write(t, e, c.cmdline, c.files)
			found, err := Find(t.Context(), e)
			got := ""
			if found != nil {
				got = found.Name
			}
			if got != c.want || err != nil {
				t.Errorf("Find = %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, line := range []string{"kios.config=/file", "ds=nocloud;s=file:///x/", "kios.config=http://h/ kios.config.sha256=1"} {
		e := env(t, services["ec2"].dmi)
		write(t, e, line, nil)
		if found, err := Find(t.Context(), e); err == nil {
			t.Errorf("with %s, Find = %+v, want an error", line, found)
		}
	}
}

// User data from the command line, and from SMBIOS.
func TestLocal(t *testing.T) {
	const sum = "d82a9bb3f6c1c1df2ce0a5ef6e0f3dc0a3d6b1f8e9b6b1d2c3d4e5f60718293a"
	uuid := map[string]string{"product_uuid": "0A1B2C3D-0000-1111-2222-333344445555"}
	machine := want.Machine{ID: "0a1b2c3d-0000-1111-2222-333344445555", UserData: []byte(cloudConfig)}

	e := env(t, uuid)
	write(t, e, "", map[string]string{"sys/firmware/dmi/tables/DMI": tables})
	machine.Provider = "smbios"
	compare(t, machine, read(t, e))

	e = env(t, uuid)
	elsewhere(t, &e, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, cloudConfig) }))
	write(t, e, "kios.config=http://h/file", nil)
	machine.Provider = "cmdline"
	compare(t, machine, read(t, e))

	write(t, e, "kios.config=http://h/file kios.config.sha256="+sum, nil)
	found, err := Find(t.Context(), e)
	lab.Must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if m, err := found.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("Read of another file than the command line means = %+v, %v", m, err)
	}
}

func TestNoCloudServer(t *testing.T) {
	e := env(t, nil)
	elsewhere(t, &e, &service{answers: map[string]string{"user-data": cloudConfig, "/user-data": cloudConfig, "/meta-data": "instance-id: 7\nlocal-hostname: a.example\n", "/network-config": "version: 2\n"}})
	tune := e.tune
	e.tune = func(c *fetch.Client) {
		tune(c)
		c.Bases[0] += "/"
	}
	write(t, e, "ds=nocloud;s=http://h;h=b.example", nil)
	m := read(t, e)
	compare(t, want.Machine{Provider: "nocloud", ID: "7", Hostname: "b", UserData: []byte(cloudConfig), Network: &want.Network{Format: "nocloud", Text: []byte("version: 2\n")}}, m)
	if got := m.Jinja["ds.meta_data.local_hostname"]; got != "a.example" {
		t.Errorf("ds.meta_data.local_hostname = %q", got)
	}
}

func TestVariables(t *testing.T) {
	e := env(t, map[string]string{"product_uuid": "AB"})
	files := map[string]string{}
	for name, value := range map[string]string{
		"Hostname": "Node-1", "Kube-Api-Endpoint": "https://192.0.2.1:6443", "Kube-CA-Cert": "PEM", "Kube-CA-Key": "key", "Kube-Bootstrap-Token": "abcdef.0123456789abcdef\x00",
		"Nameserver2": "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "Nameserver1": "\xc0\x00\x02\x35", "Nameserver4": "192.0.2.54", "Nameserver5": "x",
		"Nameserver6": "192.168.100.100\n", "Nameserver7": "2001:db8::1:2:53", // of 16 bytes, too
		"Nameserver3": "\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01%eth0", "Node-Label-example.com_role": "web",
	} {
		files["efivars/"+name+kiosVar] = "\a\x00\x00\x00" + value
	}
	write(t, e, "", files)
	compare(t, want.Machine{Provider: "uefi", ID: "ab", Hostname: "node-1", Node: &want.Node{
		Hostname: "node-1", Labels: map[string]string{"example.com/role": "web"},
		Files: []want.File{
			{Path: "/etc/kubernetes/pki/ca.crt", Content: []byte("PEM")},
			{Path: "/etc/kubernetes/pki/ca.key", Content: []byte("key"), Mode: 0o600},
		},
		Nameservers: addrs("192.0.2.53", "2001:db8::1", "fe80::1%eth0", "192.0.2.54", "192.168.100.100", "2001:db8::1:2:53"),
		Join:        &want.Join{Server: "https://192.0.2.1:6443", CA: []byte("PEM"), Token: "abcdef.0123456789abcdef"},
		Kubelet:     map[string]any{"clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local", "serverTLSBootstrap": true},
		Skipped:     []string{`the variable Nameserver5: "x" is no address of a name server`},
	}}, read(t, e))
}

// What is missing for a join is named.
func TestVariablesWithoutJoin(t *testing.T) {
	for missing, vars := range map[string]map[string][]byte{
		varToken:  {varEndpoint: []byte("192.0.2.1:6443"), varCACert: []byte("PEM")},
		varCACert: {varEndpoint: []byte("192.0.2.1:6443"), varToken: []byte("a.b")},
	} {
		n := nodeOf(vars)
		if n.Join != nil || len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], "there is no "+missing) {
			t.Errorf("without %s: %+v", missing, n)
		}
	}
	n := nodeOf(map[string][]byte{varEndpoint: []byte("192.0.2.1:6443"), varToken: []byte("a.b"), varCACert: []byte("PEM")})
	if n.Join == nil || n.Join.Server != "https://192.0.2.1:6443" {
		t.Errorf("with all: %+v", n)
	}
}

func FuzzVariables(f *testing.F) {
	f.Add("Hostname", []byte("a"), "Nameserver", []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, name string, value []byte, other string, more []byte) {
		n := nodeOf(map[string][]byte{name: value, other: more})
		if n.Hostname != "" && hostname(n.Hostname) != n.Hostname {
			t.Errorf("the host name is %q", n.Hostname)
		}
	})
}

// A report of health names what Azure wants to see again, after it has been slow and wrong.
func TestReady(t *testing.T) {
	e := env(t, services["azure"].dmi)
	var report string
	elsewhere(t, &e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Ms-Version") != "2012-11-30":
			w.WriteHeader(400)
		case r.Method == http.MethodGet && r.URL.RequestURI() == "/machine/?comp=goalstate":
			fmt.Fprint(w, "\ufeff"+goal)
		case r.Method == http.MethodPost && r.URL.RequestURI() == "/machine?comp=health":
			body, _ := io.ReadAll(r.Body)
			if report == "" {
				w.WriteHeader(503)
			}
			report = string(body)
		default:
			w.WriteHeader(404)
		}
	}))
	found, err := Find(t.Context(), e)
	lab.Must(t, err)
	lab.Must(t, found.Ready(t.Context()))
	const want = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<Health><GoalStateIncarnation>3</GoalStateIncarnation><Container><ContainerId>c-1</ContainerId>` +
		`<RoleInstanceList><Role><InstanceId>i-1</InstanceId><Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>`
	if report != want {
		t.Errorf("the report is\n%s\nwant\n%s", report, want)
	}
}

const goal = `<?xml version="1.0" encoding="utf-8"?><GoalState xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Version>2012-11-30</Version><Incarnation>3</Incarnation>
<Machine><ExpectedState>Started</ExpectedState></Machine><Container><ContainerId>c-1</ContainerId><RoleInstanceList><RoleInstance><InstanceId>i-1</InstanceId><State>Started</State>
</RoleInstance></RoleInstanceList></Container></GoalState>`

// Others wait for nothing.
func TestReadyElsewhere(t *testing.T) {
	found, err := Find(t.Context(), env(t, services["ec2"].dmi))
	lab.Must(t, err)
	lab.Must(t, found.Ready(t.Context()))
}

func FuzzGoalState(f *testing.F) {
	f.Add([]byte(goal))
	f.Fuzz(func(t *testing.T, text []byte) {
		var g goalState
		if g.parse(text) == nil && g.Container.ContainerID == "" {
			t.Error("a goal state without a machine")
		}
		g.ready()
	})
}

func TestOVF(t *testing.T) {
	env, err := parseOVF([]byte(azureXML))
	if err != nil || env.hostname != "vm-1" || string(unpack([]byte(env.customData))) != cloudConfig {
		t.Errorf("parseOVF of Azure's = %+v, %v", env, err)
	}
	l := &look{}
	m, err := l.ovfMachine([]byte(vmwareXML))
	lab.Must(t, err)
	compare(t, want.Machine{ID: "vm-7", Hostname: "node-1", UserData: []byte(cloudConfig)}, m)
	for _, text := range []string{"<a", "<Property key='x'", "<a></b>", "\xff<a>"} {
		if _, err := parseOVF([]byte(text)); err == nil {
			t.Errorf("parseOVF(%q) is no error", text)
		}
	}
}

const azureXML = `<?xml version="1.0" encoding="utf-8"?><ns0:Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1"
xmlns:ns1="http://schemas.microsoft.com/windowsazure"><ns1:ProvisioningSection><ns1:Version>1.0</ns1:Version><ns1:LinuxProvisioningConfigurationSet>
<ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType><ns1:UserName>admin</ns1:UserName><ns1:UserPassword>hush</ns1:UserPassword>
<ns1:HostName>vm-1</ns1:HostName><ns1:CustomData>` + packed + `</ns1:CustomData></ns1:LinuxProvisioningConfigurationSet></ns1:ProvisioningSection></ns0:Environment>`

const vmwareXML = `<?xml version="1.0" encoding="UTF-8"?><Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">
<PlatformSection><Kind>VMware ESXi</Kind></PlatformSection><PropertySection><Property oe:key="hostname" oe:value="node-1"/><Property oe:key="instance-id" oe:value="vm-7"/>
<Property oe:key="user-data" oe:value="` + packed + `"/></PropertySection></Environment>`

func FuzzOVF(f *testing.F) {
	f.Add([]byte(azureXML))
	f.Add([]byte(vmwareXML))
	f.Fuzz(func(t *testing.T, text []byte) {
		if env, err := parseOVF(text); err == nil && len(env.properties) > maxProperties {
			t.Errorf("there are %d properties", len(env.properties))
		}
	})
}

func TestDocument(t *testing.T) {
	d, err := parseJSON([]byte(`{"a": {"b": [{"c": "1"}, {"c": 20000000000000000001}, {"c": null}, {"c": ""}]}, "d": true, "e": {"x": "2", "y": "3"}}`))
	lab.Must(t, err)
	for path, want := range map[string][]string{
		"a.b.*.c": {"1", "20000000000000000001"}, "d": {"true"}, "e.*": {"2", "3"}, "a.b.0.c": nil, "a": nil, "x.y": nil, "": nil, "x|a.b.*.d|d": {"true"}, "d.e": nil,
	} {
		if got := d.values(path); !slices.Equal(got, want) {
			t.Errorf("values(%q) = %q, want %q", path, got, want)
		}
	}
	for _, text := range []string{"", "[]", "1", "{} {}", "{", `"a"`} {
		if d, err := parseJSON([]byte(text)); err == nil {
			t.Errorf("parseJSON(%q) = %v, want an error", text, d)
		}
	}
}

// FuzzAnswer has all rows read any answer, in bounded memory.
func FuzzAnswer(f *testing.F) {
	for _, s := range services {
		for _, body := range s.answers {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range rows {
			a := &answer{Env: Env{Log: log.New(io.Discard, "", 0)}, ctx: t.Context(), row: &rows[i], document: document{}, machine: &want.Machine{}}
			for _, s := range a.row.documents {
				_ = a.take(s, text)
			}
			_ = a.settle()
			checkMachine(t, a.machine)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20+uint64(len(rows)*len(text)*200) {
			t.Errorf("%d bytes took %d KiB", len(text), used>>10)
		}
	})
}

func checkMachine(t *testing.T, m *want.Machine) {
	t.Helper()
	if m.Hostname != hostname(m.Hostname) || m.ID != clean(m.ID) || len(m.ProviderID) > 8*maxFact {
		t.Errorf("the machine is %+v", m)
	}
	if len(m.Jinja) > maxNames {
		t.Errorf("templates know %d names", len(m.Jinja))
	}
}

// FuzzSeed reads NoCloud's files, as YAML.
func FuzzSeed(f *testing.F) {
	f.Add([]byte("instance-id: a\nlocal-hostname: b\n"))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := (&look{}).noCloud(files{metaDataFile: text}, machine.Seed{})
		if err == nil {
			checkMachine(t, &m)
		}
	})
}
