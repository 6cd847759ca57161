package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync/atomic"
	"testing"
)

func TestWaitFirst(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	defer func(args []string) { os.Args = args }(os.Args)
	os.Args = []string{"kubernetes", afterFlag + server.URL + "/readyz", "kube-scheduler", "--profiling=false"}
	waitFirst()
	if n := asked.Load(); n != 3 {
		t.Errorf("the URL was asked %d times, want 3: until it answers", n)
	}
	if want := []string{"kubernetes", "kube-scheduler", "--profiling=false"}; !slices.Equal(os.Args, want) {
		t.Errorf("arguments = %q, want %q", os.Args, want)
	}
	waitFirst() // without the flag there is nothing to wait for
}
