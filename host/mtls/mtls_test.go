package mtls

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kios/host/pki"
	"kios/test/lab"
)

// The kubelet's client tests who is trusted; here it is what becomes of answers.
func client(t *testing.T, timeout time.Duration, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca, err := pki.NewCA("test")
	lab.Must(t, err)
	pair, err := ca.Client("tester")
	lab.Must(t, err)
	trusted := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c, err := New(Options{URL: s.URL, CA: trusted, Cert: pair.Cert, Key: pair.Key, Timeout: timeout})
	lab.Must(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestGetJSON(t *testing.T) {
	c := client(t, 0, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			w.Write([]byte(`{"a": 1, "b": 2}`))
		case "/damaged":
			w.Write([]byte(`{"a": `))
		default:
			http.Error(w, "who are you?\n", http.StatusForbidden)
		}
	})
	var got struct{ A int }
	if err := c.GetJSON(t.Context(), "/good", &got); err != nil || got.A != 1 {
		t.Errorf("GetJSON = %+v, %v", got, err)
	}
	for path, want := range map[string]string{
		"/damaged": "GET /damaged: unexpected end of JSON input",
		"/none":    "GET /none: 403 Forbidden: who are you?",
	} {
		if err := c.GetJSON(t.Context(), path, &got); err == nil || err.Error() != want {
			t.Errorf("GetJSON(%s) = %v, want %s", path, err, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	released := make(chan struct{})
	c := client(t, 50*time.Millisecond, func(http.ResponseWriter, *http.Request) { <-released })
	defer close(released)
	if _, err := c.Post(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "Timeout exceeded") {
		t.Errorf("Post = %v, want that the time is up", err)
	}
}

func TestEndlessAnswer(t *testing.T) {
	c := client(t, 0, func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 1<<20); r.Context().Err() == nil; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	c.most = 1 << 12
	if _, err := c.Get(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "more than 4096 bytes") {
		t.Errorf("Get = %v, want that it is too much", err)
	}
}
