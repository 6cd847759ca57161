//go:build root

// These tests ask services at their own addresses, in a network namespace. They take root
// and Debian's iproute2.
//
//	CGO_ENABLED=0 go test -tags root ./pods/metadata/provider

package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
	"kios/test/lab/netns"
)

// insideVar is set where this program runs in the namespace.
const insideVar = "KIOS_TEST_PROVIDER"

// TestInNamespace runs the tests whose names begin with TestInside where all services have
// their addresses.
func TestInNamespace(t *testing.T) {
	name := fmt.Sprintf("kios-provider-%d", os.Getpid())
	netns.Add(t, name)
	for _, address := range []string{"168.63.129.16/32", "169.254.169.254/32", "169.254.42.42/32", "100.100.100.200/32", "10.1.1.1/32",
		"fd00:ec2::254/128", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128"} {
		netns.IP(t, name, "addr", "add", address, "dev", "lo")
	}
	inside(t, name, "^TestInside")
}

// TestWithoutIPv4 asks EC2 where there is no IPv4 at all.
func TestWithoutIPv4(t *testing.T) {
	name := fmt.Sprintf("kios-provider6-%d", os.Getpid())
	netns.Add(t, name)
	netns.IP(t, name, "addr", "add", "fd00:ec2::254/128", "dev", "lo")
	inside(t, name, "^TestOnly6")
}

func inside(t *testing.T, namespace, run string) {
	t.Helper()
	if os.Getenv(insideVar) != "" {
		t.Skip("this is in the namespace")
	}
	self, err := os.Executable()
	lab.Must(t, err)
	cmd := exec.Command("ip", "netns", "exec", namespace, self, "-test.run="+run, "-test.v")
	cmd.Env = append(os.Environ(), insideVar+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+run[1:]) {
		t.Errorf("in the namespace: %v", err)
	}
}

func needInside(t *testing.T) {
	t.Helper()
	if os.Getenv(insideVar) == "" {
		t.Skip("TestInNamespace runs this")
	}
}

// listen serves at an address until the test ends.
func listen(t *testing.T, address string, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "80"))
	lab.Must(t, err)
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
}

// patient is a machine in a cloud, with all the time it needs.
func patient(t *testing.T, s *service) Env {
	t.Helper()
	e := env(t, s.dmi)
	e.tune = nil
	e.DHCPServers = func() []netip.Addr { return addrs("10.1.1.1") }
	return e
}

// Each service is found at each of its addresses, and nowhere else.
func TestInsideEach(t *testing.T) {
	needInside(t)
	for name, s := range services {
		for _, address := range s.listen {
			t.Run(name+" at "+address, func(t *testing.T) {
				s := s.clone()
				s.lowPort = services[name].lowPort
				listen(t, address, s)
				compare(t, s.expect(name), read(t, patient(t, s)))
			})
		}
	}
}

// A service that is absent, then wrong, then silent, then endless, comes in the end.
func TestInsidePatience(t *testing.T) {
	needInside(t)
	s := services["ec2"].clone()
	s.fault = func(n int, path string, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case path == "/latest/meta-data/instance-id" && n == 1:
			w.WriteHeader(404)
		case path == "/latest/meta-data/instance-id" && n == 2:
			fmt.Fprint(w, "<html>")
		case path == "/latest/user-data" && n == 1:
			<-r.Context().Done() // the client has enough of it
		case path == "/latest/user-data" && n == 2:
			_, _ = io.CopyN(w, endless{}, 1<<30)
		default:
			return false
		}
		return true
	}
	listen(t, "169.254.169.254", s)
	var text strings.Builder
	e := patient(t, s)
	e.Log = log.New(&text, "", 0)
	start := time.Now()
	compare(t, s.expect("ec2"), read(t, e))
	if took := time.Since(start); took > 40*time.Second || strings.Count(text.String(), "\n") != 1 {
		t.Errorf("it took %v, and the log has\n%s", took, &text)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Nobody is asked but the cloud that DMI names, at its addresses.
func TestInsideNobodyElse(t *testing.T) {
	needInside(t)
	asked := make(chan string, 100)
	for _, address := range []string{"169.254.169.254", "169.254.42.42", "100.100.100.200", "168.63.129.16"} {
		listen(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Host
			w.WriteHeader(404)
		}))
	}
	for _, dmi := range []map[string]string{nil, {"sys_vendor": "QEMU"}, {"sys_vendor": "VMware, Inc."}, {"sys_vendor": "Dell Inc."}} {
		e := env(t, dmi)
		e.tune = nil
		if found, err := Find(t.Context(), e); found != nil || err != nil {
			t.Errorf("Find on %v = %+v, %v", dmi, found, err)
		}
	}
	if len(asked) > 0 {
		t.Errorf("%s was asked", <-asked)
	}
}

// The report of health goes to Azure's own address.
func TestInsideReady(t *testing.T) {
	needInside(t)
	reported := make(chan string, 1)
	listen(t, "168.63.129.16", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, goal)
			return
		}
		body, _ := io.ReadAll(r.Body)
		reported <- string(body)
	}))
	found, err := Find(t.Context(), patient(t, services["azure"]))
	lab.Must(t, err)
	lab.Must(t, found.Ready(t.Context()))
	if text := <-reported; !strings.Contains(text, "<State>Ready</State>") {
		t.Errorf("the report is %s", text)
	}
}

// Without a route there is no long wait when there is one at last, and a Read ends when it
// is told to.
func TestOnly6(t *testing.T) {
	needInside(t)
	s := services["ec2"].clone()
	listen(t, "fd00:ec2::254", s)
	start := time.Now()
	compare(t, s.expect("ec2"), read(t, patient(t, s)))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v over IPv6", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	found, err := Find(ctx, patient(t, services["gcp"]))
	lab.Must(t, err)
	if m, err := found.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no route") {
		t.Errorf("Read without IPv4 = %+v, %v", m, err)
	}
}
