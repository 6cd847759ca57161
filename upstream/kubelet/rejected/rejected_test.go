package rejected

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	first  = `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"E1 no such cgroup","using":"no files","since":"2026-11-30T05:00:00Z"}}`
	second = `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"E1 no such cgroup","using":"no files","since":"2026-11-30T05:00:00Z"},
		"containerd":{"files":["/etc/containerd/config.toml"],"error":"no such plugin","using":"last good files","since":"2026-11-30T06:00:00Z"}}`
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

// Each entry has one event, whenever it comes.
func TestEachEntryHasOneEvent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rejected.json")
	events := make(chan *corev1.Event, 10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	teller := Teller{File: file, Node: "node-1", Say: t.Logf, Create: func(_ context.Context, e *corev1.Event) error {
		events <- e
		return nil
	}}
	write(t, file, first)
	go teller.Run(ctx)
	e := <-events
	if e.InvolvedObject.Kind != "Node" || e.InvolvedObject.Name != "node-1" || e.Reason != "ConfigurationRejected" || e.Type != "Warning" ||
		!strings.Contains(e.Message, "/etc/kubernetes/config.yaml") || !strings.Contains(e.Message, "no such cgroup") {
		t.Errorf("event = %+v", e)
	}
	write(t, file, second)
	if e := <-events; !strings.HasPrefix(e.Message, "containerd does not stay up with /etc/containerd/config.toml, so it uses last good files") {
		t.Errorf("message = %q, want one of containerd", e.Message)
	}
	write(t, file, "garbage")
	write(t, file, `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"another","using":"no files","since":"2026-11-30T07:00:00Z"}}`)
	if e := <-events; !strings.Contains(e.Message, "another") {
		t.Errorf("message = %q, want the newest", e.Message)
	}
	select {
	case e := <-events:
		t.Errorf("one event too many: %+v", e)
	default:
	}
}

// An API server that does not answer hears of it later.
func TestFailureIsTriedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rejected.json")
	write(t, file, first)
	tries := 0
	teller := Teller{File: file, Node: "node-1", Say: t.Logf, told: map[string]time.Time{}, Create: func(context.Context, *corev1.Event) error {
		tries++
		if tries == 1 {
			return errors.New("no answer")
		}
		return nil
	}}
	for want, failed := range []bool{true, false, false} {
		if got := teller.tell(context.Background()); got != failed {
			t.Errorf("try %d: failed = %v, want %v", want, got, failed)
		}
	}
	if tries != 2 {
		t.Errorf("%d tries, want 2", tries)
	}
}

func TestLongMessageIsCut(t *testing.T) {
	e := (&Teller{Node: "n"}).event("kubelet", entry{Error: strings.Repeat("x", 5000)})
	if len(e.Message) != maxMessage {
		t.Errorf("message of %d bytes", len(e.Message))
	}
}

// The API server gets the event, with the node's credentials.
func TestInCluster(t *testing.T) {
	got := make(chan corev1.Event, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e corev1.Event
		err := json.NewDecoder(r.Body).Decode(&e)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/default/events" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%s %s by %s: %v", r.Method, r.URL, r.Header.Get("Authorization"), err)
		}
		got <- e
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(e)
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.URL, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: "secret"}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}
	file := filepath.Join(t.TempDir(), "kubelet.conf")
	create := InCluster(file)
	e := (&Teller{Node: "n"}).event("kubelet", entry{Error: "boo", Since: time.Now()})
	if err := create(t.Context(), e); err == nil {
		t.Error("an event without a kubeconfig")
	}
	if err := clientcmd.WriteToFile(config, file); err != nil {
		t.Fatal(err)
	}
	if err := create(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if e := <-got; e.Reason != "ConfigurationRejected" || e.InvolvedObject.Name != "n" {
		t.Errorf("event = %+v", e)
	}
}
