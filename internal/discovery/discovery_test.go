package discovery

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/internal/kubeconfig"
	"kios/test/lab"
	"kios/test/lab/authority"

	"github.com/google/go-cmp/cmp"
)

const secret = "abcdef.0123456789abcdef"

// show serves cluster-info.
func show(t *testing.T, a *authority.Authority, data map[string]string) string {
	return a.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/kube-public/configmaps/cluster-info" || data == nil {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"data": data})
	})
}

// offering is cluster-info with authorities, signed by tokens.
func offering(offered []byte, tokens ...string) map[string]string {
	text := "apiVersion: v1\nclusters:\n- name: ''\n  cluster: {server: 'https://lb.example.com', certificate-authority-data: " + base64.StdEncoding.EncodeToString(offered) + "}\n"
	data := map[string]string{kubeconfigKey: text}
	for _, token := range tokens {
		id, secret, _ := strings.Cut(token, ".")
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
		data[signatureKey+id] = header + ".." + base64.RawURLEncoding.EncodeToString(sign(header, text, secret))
	}
	return data
}

// expect checks what was found: want is in the error, or "".
func expect(t *testing.T, c Cluster, err error, ca *authority.Authority, want string) {
	t.Helper()
	if want != "" {
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 4000 {
			t.Errorf("error = %v, want %q", err, want)
		}
		return
	}
	lab.Must(t, err)
	if diff := cmp.Diff(Cluster{"https://lb.example.com", ca.PEM()}, c); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
}

func TestPinned(t *testing.T) {
	ca, other := authority.New(t), authority.New(t)
	for _, tt := range []struct {
		name   string
		signer *authority.Authority
		data   map[string]string
		hashes []string
		want   string // in the error; "" if it succeeds
	}{
		{"good", ca, offering(ca.PEM()), []string{ca.Hash()}, ""},
		{"one more is left out", ca, offering(slices.Concat(other.PEM(), ca.PEM())), []string{ca.Hash()}, ""},
		{"one of two hashes", ca, offering(ca.PEM()), []string{other.Hash(), ca.Hash()}, ""},
		{"other authority", other, offering(other.PEM()), []string{ca.Hash()}, "not the one that was given"},
		{"very many", other, offering([]byte(strings.Repeat(string(other.PEM()), 1000))), []string{ca.Hash()}, "not the one that was given"},
		{"somebody in between", other, offering(ca.PEM()), []string{ca.Hash()}, "certificate signed by unknown authority"},
		{"not shown", ca, nil, []string{ca.Hash()}, "does not show it (403 Forbidden): clusters of kubeadm show it to everybody"},
		{"nothing in it", ca, offering(nil), []string{ca.Hash()}, "not the one that was given"},
		{"no kubeconfig in it", ca, map[string]string{}, []string{ca.Hash()}, "its kubeconfig has no cluster"},
		{"bad hash", ca, offering(ca.PEM()), []string{"sha256:abc"}, "64 hexadecimal digits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Pinned(t.Context(), show(t, tt.signer, tt.data), tt.hashes)
			expect(t, c, err, ca, tt.want)
		})
	}
}

func TestSigned(t *testing.T) {
	ca, other := authority.New(t), authority.New(t)
	const another = "abcdef.fedcba9876543210" // with the same id
	changed := offering(ca.PEM(), secret)
	changed[kubeconfigKey] = offering(other.PEM())[kubeconfigKey]
	none := offering(ca.PEM(), secret)
	none[signatureKey+"abcdef"] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"abcdef"}`)) + ".."
	for _, tt := range []struct {
		name   string
		signer *authority.Authority
		data   map[string]string
		want   string
	}{
		{"good", ca, offering(ca.PEM(), "ghijkl.0123456789abcdef", secret), ""},
		{"expired", ca, offering(ca.PEM()), "does not know the bootstrap token abcdef, or it has expired"},
		{"another secret", ca, offering(ca.PEM(), another), "not by this token's secret"},
		{"another content", other, changed, "not by this token's secret"},
		{"unsigned", ca, none, "not one of HS256"},
		{"somebody in between", other, offering(ca.PEM(), secret), "certificate signed by unknown authority"},
		{"no authority", ca, offering(nil, secret), "no certificate in PEM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Signed(t.Context(), show(t, tt.signer, tt.data), secret)
			expect(t, c, err, ca, tt.want)
		})
	}
}

// What a server sends is bounded, and it may not send the token on.
func TestConfigMapIsBounded(t *testing.T) {
	ca := authority.New(t)
	elsewhere := ca.Serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"data":{}}`) })
	for name, handler := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for blank := strings.Repeat(" ", 1<<16); ; {
				if _, err := w.Write([]byte(blank)); err != nil {
					return
				}
			}
		},
		"redirected": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+elsewhere+"/", http.StatusFound)
		},
		"silent": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		c := Cluster{"https://" + ca.Serve(t, handler), ca.PEM()}
		if data, err := c.ConfigMap(ctx, kubeconfig.User{Token: secret}, "a", "b"); err == nil {
			t.Errorf("%s: ConfigMap = %v, want an error", name, data)
		}
		cancel()
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..", "x")
	f.Add("..", "")
	f.Fuzz(func(t *testing.T, signature, text string) {
		i := info{kubeconfigKey: text, signatureKey + "abcdef": signature}
		_, _ = i.cluster()
		if i.verify(secret) == nil && !strings.Contains(signature, "..") {
			t.Errorf("%q is taken for a signature", signature)
		}
	})
}

// An answer that may be anybody's does not become larger than it is.
func TestAliases(t *testing.T) {
	text := "a: &a " + strings.Repeat("x", 64<<10) + "\nb: [" + strings.Repeat("*a,", 20_000) + "]\n"
	var err error
	if used := lab.Allocated(func() { _, err = info{kubeconfigKey: text}.cluster() }); err == nil || used > 1<<20 {
		t.Errorf("a kubeconfig with aliases takes %d bytes: %v", used, err)
	}
}
