package kubeletapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/host/mtls"
	"kios/host/pki"
	"kios/test/lab"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func readPods(t *testing.T) []byte {
	t.Helper()
	body, err := os.ReadFile("testdata/pods.json")
	lab.Must(t, err)
	return body
}

func TestParsePods(t *testing.T) {
	got, err := parsePods(readPods(t))
	lab.Must(t, err)
	want := []Pod{{
		Namespace: "batch", Name: "job-kios-3f2a", UID: "4", Node: "kios-3f2a", Phase: "Succeeded",
		Containers: []Container{{Name: "main", Image: "y:1", Terminated: &Terminated{
			Reason: "Completed", StartedAt: at("2026-01-02T03:04:07Z"), FinishedAt: at("2026-01-02T03:04:09Z"),
		}}},
	}, {
		Namespace: "default", Name: "fresh-kios-3f2a", UID: "3", Node: "kios-3f2a", Phase: "Pending",
		Init:       []Container{{Name: "prepare", Image: "x:1"}},
		Containers: []Container{{Name: "main", Image: "y:1"}},
	}, {
		Namespace: "default", Name: "hello-kios-3f2a", UID: "0e5a1ab6d2f04e5d9d2c3b1f7a6c9e11", Node: "kios-3f2a",
		HostNetwork: true, Phase: "Running",
		Containers: []Container{{
			Name: "hello", Image: "kios.local/hello:1", Ready: true, Restarts: 1,
			Running: &Running{StartedAt: at("2026-01-02T03:04:07Z")},
			Last:    &Terminated{ExitCode: 137, Reason: "Error", StartedAt: at("2026-01-02T03:04:06Z"), FinishedAt: at("2026-01-02T03:04:07Z")},
		}},
	}, {
		Namespace: "default", Name: "missing-kios-3f2a", UID: "2", Node: "kios-3f2a", HostNetwork: true, Phase: "Pending",
		Containers: []Container{
			{Name: "b", Image: "example.com/none:1", Waiting: &Waiting{Reason: "ErrImagePull", Message: `failed to pull and unpack image "example.com/none:1": dial tcp: lookup example.com: no such host`}},
			{Name: "a", Image: "example.com/none:2", Waiting: &Waiting{Reason: "ContainerCreating"}},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsePods (-want +got):\n%s", diff)
	}
	var done []string
	for _, p := range got {
		if p.Done() {
			done = append(done, p.BaseName())
		}
	}
	if diff := cmp.Diff([]string{"job", "hello"}, done); diff != "" {
		t.Errorf("pods that are done (-want +got):\n%s", diff)
	}
	if p, ok := Find(got, "default", "hello"); !ok || p.Name != "hello-kios-3f2a" {
		t.Errorf("Find(default, hello) = %q, %t", p.Name, ok)
	}
	if _, ok := Find(got, "batch", "hello"); ok {
		t.Error("Find(batch, hello) found a pod of another namespace")
	}
}

func TestParsePodsRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"<html>":            "parse /pods: invalid character",
		`{"kind":"Status"}`: `kind is "Status"`,
	} {
		if _, err := parsePods([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parsePods(%s) = %v, want an error with %q", in, err, want)
		}
	}
}

func FuzzParsePods(f *testing.F) {
	if body, err := os.ReadFile("testdata/pods.json"); err == nil {
		f.Add(body)
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		pods, _ := parsePods(body)
		for _, p := range pods {
			p.Done()
		}
	})
}

// authority makes certificates, and a client for the server at addr.
type authority struct {
	t  *testing.T
	ca *pki.CA
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	ca, err := pki.NewCA("test")
	lab.Must(t, err)
	return authority{t, ca}
}

func (a authority) client(addr, serverName string, signer authority) *Client {
	a.t.Helper()
	pair, err := signer.ca.Client("tester", "system:masters")
	lab.Must(a.t, err)
	c, err := New(Options{Addr: addr, ServerName: serverName, CA: a.ca.Cert(), Cert: pair.Cert, Key: pair.Key})
	lab.Must(a.t, err)
	a.t.Cleanup(c.Close)
	return c
}

// serve runs a server that asks for certificates of the authority.
func (a authority) serve(h http.Handler) string {
	a.t.Helper()
	pair, err := a.ca.Server("node")
	lab.Must(a.t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	lab.Must(a.t, err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(a.ca.Cert())
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that must fail
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func fakeKubelet(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) })
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, r *http.Request) {
		if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != "tester" {
			t.Errorf("client is %q, want tester", name)
		}
		w.Write(readPods(t))
	})
	mux.HandleFunc("GET /containerLogs/default/hello-node/main", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("hello\n"))
	})
	mux.HandleFunc("POST /run/default/hello-node/main", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cmd") == "/false" {
			http.Error(w, "command '/false' exited with 1: no", http.StatusInternalServerError)
			return
		}
		w.Write([]byte(strings.Join(strings.Split(r.URL.Query().Get("cmd"), " "), "|")))
	})
	mux.HandleFunc("GET /stats/summary", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"node":{"nodeName":"n","memory":{"time":"2026-01-02T03:04:05Z","availableBytes":5,"usageBytes":7,"workingSetBytes":6}},"pods":[]}`))
	})
	return mux
}

func TestClient(t *testing.T) {
	ctx := context.Background()
	a := newAuthority(t)
	c := a.client(a.serve(fakeKubelet(t)), "node", a)
	if err := c.Healthz(ctx); err != nil {
		t.Errorf("Healthz = %v", err)
	}
	if pods, err := c.Pods(ctx); err != nil || len(pods) != 4 {
		t.Errorf("Pods = %d pods, %v, want 4", len(pods), err)
	}
	if got, err := c.Logs(ctx, "default", "hello-node", "main"); err != nil || string(got) != "hello\n" {
		t.Errorf("Logs = %q, %v", got, err)
	}
	if got, err := c.Run(ctx, "default", "hello-node", "main", "/cat", "/a&b=c"); err != nil || string(got) != "/cat|/a&b=c" {
		t.Errorf("Run = %q, %v", got, err)
	}
	if s, err := c.Stats(ctx); err != nil || s.Node.Memory.WorkingSetBytes != 6 {
		t.Errorf("Stats = %+v, %v", s, err)
	}
}

func TestClientErrors(t *testing.T) {
	ctx := context.Background()
	a := newAuthority(t)
	c := a.client(a.serve(fakeKubelet(t)), "node", a)
	_, err := c.Run(ctx, "default", "hello-node", "main", "/false")
	var status *mtls.StatusError
	if !errors.As(err, &status) || status.Code != 500 || !strings.Contains(err.Error(), "exited with 1: no") {
		t.Errorf("Run(/false) = %v", err)
	}
	if _, err := c.Run(ctx, "default", "hello-node", "main", "/echo", "a b"); err == nil || !strings.Contains(err.Error(), "holds a space") {
		t.Errorf("Run with a space = %v", err)
	}
	if _, err := c.Logs(ctx, "default", "no/such", "main"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("Logs of no pod = %v", err)
	}
}

func TestTrust(t *testing.T) {
	ctx := context.Background()
	a, stranger := newAuthority(t), newAuthority(t)
	addr := a.serve(fakeKubelet(t))
	for _, tt := range []struct {
		name   string
		client *Client
	}{
		{"server of another authority", stranger.client(addr, "node", a)},
		{"server of another name", a.client(addr, "other", a)},
		{"client of another authority", a.client(addr, "node", stranger)},
	} {
		if err := tt.client.Healthz(ctx); err == nil {
			t.Errorf("%s: Healthz succeeded", tt.name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	a := newAuthority(t)
	if _, err := New(Options{CA: []byte("nothing")}); err == nil {
		t.Error("New with a bad authority succeeded")
	}
	if _, err := New(Options{CA: a.ca.Cert(), Cert: []byte("x"), Key: []byte("y")}); err == nil {
		t.Error("New with a bad pair succeeded")
	}
}
