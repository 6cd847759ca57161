package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kios/test/lab"
)

// serve answers the nth request, from 1 on, until the test ends.
func serve(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		answer(n, w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// impatient does not wait, and notes how long it should have.
func impatient(base ...string) (*Client, *[]time.Duration) {
	var pauses []time.Duration
	c := &Client{Bases: base, bound: time.Second}
	c.Wait = func(ctx context.Context, pause time.Duration) error {
		pauses = append(pauses, pause)
		return ctx.Err()
	}
	return c, &pauses
}

func hello(w http.ResponseWriter) { fmt.Fprint(w, "hello") }

// A service that is where DHCP is becomes known with the lease, which may come late.
func TestFind(t *testing.T) {
	there := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { hello(w) })
	c, pauses := impatient("http://127.0.0.1:1")
	c.Find = func() []string {
		if len(*pauses) < 2 {
			return nil
		}
		return []string{there}
	}
	if text, err := c.Get(t.Context(), "/"); string(text) != "hello" || err != nil || len(*pauses) != 2 {
		t.Errorf("Get() = %q, %v after %d pauses", text, err, len(*pauses))
	}
}

// Whoever answers DHCP may be another one with each lease.
func TestFindIsBounded(t *testing.T) {
	n := 0
	c := &Client{Bases: []string{"http://a"}, Find: func() []string { n++; return []string{fmt.Sprint("http://", n)} }}
	for range 100 {
		c.findBases()
	}
	if len(c.Bases) != maxBases {
		t.Errorf("there are %d bases", len(c.Bases))
	}
}

// What is wrong is asked for again, and what is right counts.
func TestAgain(t *testing.T) {
	endless := func(w http.ResponseWriter) {
		for b := make([]byte, 1<<16); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	other := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { hello(w) })
	for name, wrong := range map[string]func(w http.ResponseWriter, r *http.Request){
		"an error":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"no answer":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a forbidden one": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"a partial one":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); hello(w) },
		"garbage":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"an endless one":  func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"a slow one":      func(w http.ResponseWriter, r *http.Request) { drip(w, r) },
		"a cut one":       func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "9"); hello(w) },
		"an endless field": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			hello(w)
		},
		"another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other, http.StatusFound)
		},
		"itself": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/hello", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			c, pauses := impatient(serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n > 1 && name != "itself" || n > 8 {
					hello(w)
					return
				}
				wrong(w, r)
			}))
			body, err := c.Do(t.Context(), Request{Path: "/hello", Limit: 1000, Check: func(b []byte) error {
				if string(b) != "hello" {
					return errors.New("garbage")
				}
				return nil
			}})
			if string(body) != "hello" || err != nil || !slices.Equal(*pauses, []time.Duration{firstPause}) {
				t.Errorf("Do = %q, %v with pauses of %v, want hello after one pause", body, err, *pauses)
			}
		})
	}
}

// drip sends a byte now and then, for longer than a request may take.
func drip(w http.ResponseWriter, r *http.Request) {
	for range 50 {
		fmt.Fprint(w, ".")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// Much that is refused takes no memory: an answer is read up to its limit.
func TestMemory(t *testing.T) {
	c, _ := impatient(serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 200 {
			return
		}
		_, _ = io.CopyN(w, zeros{}, 64<<20)
	}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Get(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("200 answers of 64 MiB took %d MiB", grown>>20)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestPauses(t *testing.T) {
	c, pauses := impatient(serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 10 {
			w.WriteHeader(500)
		}
	}))
	_, err := c.Get(t.Context(), "/")
	var want []time.Duration
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		want = append(want, time.Duration(seconds)*time.Second)
	}
	if err != nil || !slices.Equal(*pauses, want) {
		t.Errorf("Get waits %v, want %v (%v)", *pauses, want, err)
	}
}

// 404 is an answer, unless somebody knows better.
func TestAbsent(t *testing.T) {
	late := func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			w.WriteHeader(404)
			return
		}
		hello(w)
	}
	c, pauses := impatient(serve(t, late))
	if _, err := c.Get(t.Context(), "/"); !errors.Is(err, ErrAbsent) || len(*pauses) > 0 {
		t.Errorf("Get = %v after %v, want ErrAbsent at once", err, *pauses)
	}
	c, _ = impatient(serve(t, late))
	if body, err := c.Do(t.Context(), Request{Path: "/", Required: true}); string(body) != "hello" || err != nil {
		t.Errorf("Do = %q, %v, want hello", body, err)
	}
}

// What was there before is asked for again for a minute, whatever else goes wrong meanwhile.
func TestLacks(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []int
		want    string
		waits   int
	}{
		"it comes back":      {[]int{404, 204, 500, 404, 200}, "hello", 4},
		"it is gone":         {[]int{404}, "", 6},
		"it is empty":        {[]int{204}, "", 6},
		"after other faults": {[]int{500, 500, 404}, "", 8},
	} {
		var text strings.Builder
		c, pauses := impatient(serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			status := tt.answers[min(n, len(tt.answers))-1]
			if w.WriteHeader(status); status == 200 {
				hello(w)
			}
		}))
		c.Log = log.New(&text, "", 0)
		body, err := c.Do(t.Context(), Request{Path: "/x", Lacks: IsBlank})
		if string(body) != tt.want || err != nil && !errors.Is(err, ErrAbsent) || len(*pauses) != tt.waits {
			t.Errorf("%s: %q, %v after %v", name, body, err, *pauses)
		}
		if got := strings.Contains(text.String(), "/x: it is not there any more"); got != (tt.want == "") || strings.Count(text.String(), "it was there before") != 1 {
			t.Errorf("%s: the log says\n%s", name, &text)
		}
	}
	c, _ := impatient(serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }))
	ctx, cancel := context.WithCancel(t.Context())
	c.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	if _, err := c.Do(ctx, Request{Path: "/", Lacks: IsBlank}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrAbsent) {
		t.Errorf("Do of a machine that stops = %v", err)
	}
}

// A token that has ended is replaced by a new one at once.
func TestToken(t *testing.T) {
	tokens := 0
	c, pauses := impatient(serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "PUT" && r.URL.Path == "/token" && r.Header.Get("Lifetime") == "60":
			tokens++
			fmt.Fprintf(w, "token-%d\n", tokens)
		case r.Header.Get("Token") == fmt.Sprintf("token-%d", tokens) && n != 4: // the third answer
			hello(w)
		default:
			w.WriteHeader(401)
		}
	}))
	c.Token = &Token{Path: "/token", Ask: map[string]string{"Lifetime": "60"}, Header: "Token"}
	for range 5 {
		if body, err := c.Get(t.Context(), "/"); string(body) != "hello" || err != nil {
			t.Errorf("Get = %q, %v", body, err)
		}
	}
	if tokens != 2 || len(*pauses) > 0 {
		t.Errorf("there were %d tokens and pauses of %v, want 2 and none", tokens, *pauses)
	}
}

// A bad token is no reason to ask for ever with it, nor is a service without any an absent
// answer.
func TestBadToken(t *testing.T) {
	for name, bad := range map[string]func(w http.ResponseWriter){
		"none":     func(w http.ResponseWriter) { w.WriteHeader(404) },
		"empty":    func(http.ResponseWriter) {},
		"two":      func(w http.ResponseWriter) { fmt.Fprint(w, "a\nb") },
		"too long": func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("a", maxToken+1)) },
		"wrong":    func(w http.ResponseWriter) { fmt.Fprint(w, "wrong") },
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			c, pauses := impatient(serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == "PUT" && tries == 0:
					tries++
					bad(w)
				case r.Method == "PUT":
					fmt.Fprint(w, "right")
				case r.Header.Get("Token") == "right":
					hello(w)
				default:
					w.WriteHeader(401)
				}
			}))
			c.Token = &Token{Path: "/token", Header: "Token"}
			if body, err := c.Get(t.Context(), "/"); string(body) != "hello" || err != nil || len(*pauses) != 1 {
				t.Errorf("Get = %q, %v after %v", body, err, *pauses)
			}
		})
	}
}

// The base that answers is asked first from then on.
func TestBases(t *testing.T) {
	refused := closedPort(t)
	c, _ := impatient(refused, serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { hello(w) }))
	if body, err := c.Get(t.Context(), "/"); string(body) != "hello" || err != nil {
		t.Errorf("Get = %q, %v", body, err)
	}
	if c.Bases[1] != refused || len(c.Bases) != 2 {
		t.Errorf("the bases are %q", c.Bases)
	}
}

// closedPort is the URL of a port where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(t, err)
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestRedirects(t *testing.T) {
	other := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { hello(w) })
	c, _ := impatient(serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/old":
			http.Redirect(w, r, "/new", http.StatusMovedPermanently)
		case "/new":
			hello(w)
		default:
			http.Redirect(w, r, other, http.StatusFound)
		}
	}))
	if body, err := c.Get(t.Context(), "/old"); string(body) != "hello" || err != nil {
		t.Errorf("Get on the same host = %q, %v", body, err)
	}
	c.Anywhere = true
	if body, err := c.Get(t.Context(), "/elsewhere"); string(body) != "hello" || err != nil {
		t.Errorf("Get anywhere = %q, %v", body, err)
	}
}

func TestChecksum(t *testing.T) {
	c, pauses := impatient(serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			fmt.Fprint(w, "hullo")
			return
		}
		hello(w)
	}))
	const sum = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"
	body, err := c.Do(t.Context(), Request{Path: "/", Check: SHA256(sum)})
	if string(body) != "hello" || err != nil || len(*pauses) != 1 {
		t.Errorf("Do = %q, %v after %v", body, err, *pauses)
	}
}

// In ten minutes without an answer there are ten lines, which tell no secrets.
func TestLog(t *testing.T) {
	address := strings.Replace(closedPort(t), "http://", "http://user:hush@", 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var text strings.Builder
		c := &Client{Bases: []string{address}, Log: log.New(&text, "", 0)}
		_, err := c.Get(ctx, "/file?key=hush")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Get = %v", err)
		}
		if n := strings.Count(text.String(), "\n"); n < 8 || n > 11 {
			t.Errorf("there are %d lines, want one a minute:\n%s", n, &text)
		}
		if strings.Contains(text.String()+err.Error(), "hush") || !strings.Contains(text.String(), "connection refused") {
			t.Errorf("the log tells a secret, or no reason:\n%s\n%v", &text, err)
		}
	})
}

// Some services take a low port for a sign of root.
func TestLowPort(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this takes root")
	}
	var ports []string
	c, _ := impatient(serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		ports = append(ports, r.RemoteAddr)
	}))
	c.LowPort = true
	for range 3 {
		_, err := c.Get(t.Context(), "/")
		lab.Must(t, err)
		c.http.CloseIdleConnections()
	}
	for _, p := range ports {
		if a := netip.MustParseAddrPort(p); a.Port() >= 1024 {
			t.Errorf("the request came from %s, want a port below 1024", p)
		}
	}
}
