package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/internal/kubeconfig"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
)

const secret = "abcdef.0123456789abcdef"

// authority is a cluster's CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	template := template("kubernetes")
	template.IsCA, template.BasicConstraintsValid = true, true
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	lab.Must(t, err)
	cert, err := x509.ParseCertificate(der)
	lab.Must(t, err)
	return &authority{cert, key}
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) hash() string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(a.cert.RawSubjectPublicKeyInfo))
}

// pair is a certificate of a server.
func (a *authority) pair(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template("server"), a.cert, key.Public(), a.key)
	lab.Must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve is an API server with a certificate by a.
func (a *authority) serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.pair(t)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// show serves cluster-info.
func (a *authority) show(t *testing.T, data map[string]string) string {
	return a.serve(t, func(w http.ResponseWriter, r *http.Request) {
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
func expect(t *testing.T, c Cluster, err error, ca *authority, want string) {
	t.Helper()
	if want != "" {
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 4000 {
			t.Errorf("error = %v, want %q", err, want)
		}
		return
	}
	lab.Must(t, err)
	if diff := cmp.Diff(Cluster{"https://lb.example.com", ca.pem()}, c); diff != "" {
		t.Errorf("cluster (-want +got):\n%s", diff)
	}
}

func TestPinned(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name   string
		signer *authority
		data   map[string]string
		hashes []string
		want   string // in the error; "" if it succeeds
	}{
		{"good", ca, offering(ca.pem()), []string{ca.hash()}, ""},
		{"one more is left out", ca, offering(slices.Concat(other.pem(), ca.pem())), []string{ca.hash()}, ""},
		{"one of two hashes", ca, offering(ca.pem()), []string{other.hash(), ca.hash()}, ""},
		{"other authority", other, offering(other.pem()), []string{ca.hash()}, "not the one that was given"},
		{"very many", other, offering([]byte(strings.Repeat(string(other.pem()), 1000))), []string{ca.hash()}, "not the one that was given"},
		{"somebody in between", other, offering(ca.pem()), []string{ca.hash()}, "certificate signed by unknown authority"},
		{"not shown", ca, nil, []string{ca.hash()}, "does not show it (403 Forbidden): clusters of kubeadm show it to everybody"},
		{"nothing in it", ca, offering(nil), []string{ca.hash()}, "not the one that was given"},
		{"no kubeconfig in it", ca, map[string]string{}, []string{ca.hash()}, "its kubeconfig has no cluster"},
		{"bad hash", ca, offering(ca.pem()), []string{"sha256:abc"}, "64 hexadecimal digits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Pinned(t.Context(), tt.signer.show(t, tt.data), tt.hashes)
			expect(t, c, err, ca, tt.want)
		})
	}
}

func TestSigned(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	const another = "abcdef.fedcba9876543210" // with the same id
	changed := offering(ca.pem(), secret)
	changed[kubeconfigKey] = offering(other.pem())[kubeconfigKey]
	none := offering(ca.pem(), secret)
	none[signatureKey+"abcdef"] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"abcdef"}`)) + ".."
	for _, tt := range []struct {
		name   string
		signer *authority
		data   map[string]string
		want   string
	}{
		{"good", ca, offering(ca.pem(), "ghijkl.0123456789abcdef", secret), ""},
		{"expired", ca, offering(ca.pem()), "does not know the bootstrap token abcdef, or it has expired"},
		{"another secret", ca, offering(ca.pem(), another), "not by this token's secret"},
		{"another content", other, changed, "not by this token's secret"},
		{"unsigned", ca, none, "not one of HS256"},
		{"somebody in between", other, offering(ca.pem(), secret), "certificate signed by unknown authority"},
		{"no authority", ca, offering(nil, secret), "no certificate in PEM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Signed(t.Context(), tt.signer.show(t, tt.data), secret)
			expect(t, c, err, ca, tt.want)
		})
	}
}

// What a server sends is bounded, and it may not send the token on.
func TestConfigMapIsBounded(t *testing.T) {
	ca := newAuthority(t)
	elsewhere := ca.serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"data":{}}`) })
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
		c := Cluster{"https://" + ca.serve(t, handler), ca.pem()}
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
