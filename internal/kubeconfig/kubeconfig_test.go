package kubeconfig

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestNewIsRead(t *testing.T) {
	made := New("a@b",
		NamedCluster{"b", Cluster{Server: "https://192.0.2.1:6443", CAData: Data([]byte("ca"))}},
		NamedUser{"a", User{CertData: Data([]byte("cert")), KeyData: Data([]byte("key"))}})
	text, err := made.Marshal()
	lab.Must(t, err)
	read, err := Parse(text)
	if diff := cmp.Diff(made, read); err != nil || diff != "" {
		t.Errorf("Parse = %v, (-want +got):\n%s", err, diff)
	}
	c, u, err := read.Current()
	lab.Must(t, err)
	ca, caErr := c.CA()
	cert, key, pairErr := u.Pair()
	if caErr != nil || pairErr != nil || string(ca) != "ca" || string(cert) != "cert" || string(key) != "key" {
		t.Errorf("CA = %q, %v; Pair = %q, %q, %v", ca, caErr, cert, key, pairErr)
	}
}

func TestWhatIsWrong(t *testing.T) {
	if _, err := (Cluster{CAData: "?"}).CA(); err == nil || !strings.Contains(err.Error(), "certificate-authority-data") {
		t.Errorf("CA = %v", err)
	}
	if _, _, err := (User{KeyData: "?"}).Pair(); err == nil || !strings.Contains(err.Error(), "client-key-data") {
		t.Errorf("Pair = %v", err)
	}
	user := NamedUser{"a", User{Token: "x"}}
	server := NamedCluster{"b", Cluster{Server: "https://192.0.2.1"}}
	missing := New("c", server, user)
	missing.CurrentContext = "d"
	for want, k := range map[string]Config{
		`there is no context of that name`: missing,
		`has no server`:                    New("c", NamedCluster{Name: "b"}, user),
		`has no credentials`:               New("c", server, NamedUser{Name: "a"}),
	} {
		if _, _, err := k.Current(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Current = %v, want %q", err, want)
		}
	}
}
