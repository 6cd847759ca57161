package mountcmd

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestNFSHost(t *testing.T) {
	for source, want := range map[string]string{
		"nas:/srv": "nas", "10.0.2.2:/": "10.0.2.2", "[fd00::1]:/srv:x": "fd00::1", "[fe80::1%eth0]:/srv": "fe80::1%eth0",
		"nas": "", ":/srv": "", "nas:srv": "", "fd00::1:/srv": "", "[fd00::1/srv": "",
	} {
		got, err := nfsHost(source)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("nfsHost(%q) = %q, %v, want %q", source, got, err, want)
		}
	}
}

// TestNegotiate plays servers that know some versions, at some addresses.
func TestNegotiate(t *testing.T) {
	const a, b = "addr=10.0.0.1", "addr=10.0.0.2"
	tests := []struct {
		name, data string
		addresses  []string
		locks      bool
		refuses    map[string]error // by a word of the options
		want       []string
		err        string
	}{
		{name: "a new server", data: "soft", addresses: []string{a}, want: []string{"soft,vers=4.2," + a}},
		{name: "an older one", addresses: []string{a}, refuses: map[string]error{"vers=4.2": unix.EPROTONOSUPPORT},
			want: []string{"vers=4.2," + a, "vers=4.1," + a}},
		{name: "two addresses", addresses: []string{a, b}, refuses: map[string]error{a: unix.EHOSTUNREACH},
			want: []string{"vers=4.2," + a, "vers=4.2," + b}},
		{name: "the user's version", data: "nfsvers=4.1", addresses: []string{a}, want: []string{"nfsvers=4.1," + a}},
		{name: "any minor version", data: "vers=4", addresses: []string{a}, refuses: map[string]error{"vers=4.2": unix.EPROTONOSUPPORT},
			want: []string{"vers=4,vers=4.2," + a, "vers=4,vers=4.1," + a}},
		{name: "the user's minor version", data: "vers=4,minorversion=1", addresses: []string{a}, want: []string{"vers=4,minorversion=1," + a}},
		{name: "the user's address", data: a, addresses: []string{""}, want: []string{a + ",vers=4.2"}},
		{name: "no access", addresses: []string{a}, refuses: map[string]error{a: unix.EACCES},
			want: []string{"vers=4.2," + a}, err: "permission denied"},
		{name: "version 3 without statd", data: "vers=3", addresses: []string{a}, err: "add the mount option nolock"},
		{name: "version 3 without locks", data: "vers=3,nolock", addresses: []string{a}, want: []string{"vers=3,nolock," + a}},
		{name: "version 3 with statd", data: "v3", locks: true, addresses: []string{a}, want: []string{"v3," + a}},
		{name: "a path that only version 3 has", data: "nolock", addresses: []string{a}, refuses: map[string]error{"vers=4": unix.ENOENT},
			want: []string{"nolock,vers=4.2," + a, "nolock,vers=3," + a}},
		{name: "version 4 is not permitted", locks: true, addresses: []string{a}, refuses: map[string]error{"vers=4": unix.EPERM},
			want: []string{"vers=4.2," + a, "vers=3," + a}},
		{name: "no such path", data: "nolock", addresses: []string{a}, refuses: map[string]error{"vers=4": unix.ENOENT, "vers=3": unix.EACCES},
			want: []string{"nolock,vers=4.2," + a, "nolock,vers=3," + a}, err: "no such file"},
		{name: "no such path, no version 3", addresses: []string{a}, refuses: map[string]error{a: unix.ENOENT},
			want: []string{"vers=4.2," + a}, err: "no such file"},
		{name: "no such path in the user's version", data: "vers=4", addresses: []string{a}, refuses: map[string]error{a: unix.ENOENT},
			want: []string{"vers=4,vers=4.2," + a}, err: "no such file"},
		{name: "only version 3", addresses: []string{a}, refuses: map[string]error{"vers=4": unix.EPROTONOSUPPORT},
			want: []string{"vers=4.2," + a, "vers=4.1," + a, "vers=4.0," + a}, err: "needs rpc.statd"},
	}
	for _, tt := range tests {
		var tried []string
		err := negotiate(tt.data, tt.addresses, tt.locks, func(data string) error {
			tried = append(tried, data)
			for word, err := range tt.refuses {
				if strings.Contains(data, word) {
					return err
				}
			}
			return nil
		})
		if diff := cmp.Diff(tt.want, tried); diff != "" {
			t.Errorf("%s: tried (-want +got):\n%s", tt.name, diff)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.err)
		}
	}
}

func TestNFSAddresses(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.1": "addr=127.0.0.1,clientaddr=127.0.0.1", "localhost": "addr="} {
		got, err := nfsAddresses(host, "soft")
		if err != nil || len(got) == 0 || !strings.HasPrefix(got[0], want) {
			t.Errorf("nfsAddresses(%s) = %q, %v, want %s", host, got, err, want)
		}
	}
	if got, err := nfsAddresses("no such host", "soft,addr=10.0.0.1"); err != nil || !cmp.Equal(got, []string{""}) {
		t.Errorf("with the user's address: %q, %v, want nothing to add", got, err)
	}
}

func TestExplainNFS(t *testing.T) {
	if err := explainNFS(nil, "nas:/srv"); err != nil {
		t.Error(err)
	}
	err := explainNFS(unix.ENOENT, "nas:/srv")
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "NFS volume nas:/srv: ") || !strings.Contains(err.Error(), "does not export") {
		t.Errorf("error = %v", err)
	}
}

// The kubelet shows what mount says in the pod's event.
func TestMountOfUnknownType(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Mount([]string{"-t", "glusterfs", "nas:vol", t.TempDir()}, &stdout, &stderr)
	if code != exitFail || !strings.Contains(stderr.String(), "unknown filesystem type 'glusterfs': the kernel has none of that name, and the node has no mount.glusterfs: use a CSI driver") {
		t.Errorf("mount = %d, %q", code, stderr.String())
	}
}
