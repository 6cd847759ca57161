package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestIsLoss(t *testing.T) {
	address := net.ParseIP("192.0.2.7")
	update := func(index int, added bool, ip string) netlink.AddrUpdate {
		return netlink.AddrUpdate{LinkIndex: index, NewAddr: added, LinkAddress: net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)}}
	}
	for _, tt := range []struct {
		name   string
		update netlink.AddrUpdate
		want   bool
	}{
		{"its address goes", update(2, false, "192.0.2.7"), true},
		{"another one goes", update(2, false, "192.0.2.8"), false},
		{"another interface's goes", update(3, false, "192.0.2.7"), false},
		{"its address is renewed", update(2, true, "192.0.2.7"), false},
	} {
		if got := isLoss(tt.update, 2, address); got != tt.want {
			t.Errorf("%s: isLoss = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestReadConfig(t *testing.T) {
	const backend = `, "EnableNFTables": true, "Backend": {"Type": "host-gw"}}`
	for _, tt := range []struct{ text, want string }{
		{`{"Network": "10.244.0.0/16"` + backend, ""},
		{`{"Network": "10.244.0.0/16"`, "network.json: unexpected end of JSON input"},
		{`{"Network": "10.244.0.0"` + backend, "network.json: invalid CIDR"},
		{`{"Network": "10.244.0.0/16"}`, "network.json: this flanneld takes"},
		{`{"Network": "10.244.0.0/16", "EnableIPv6": true` + backend, "network.json: this flanneld takes"},
		{`{"Network": "10.244.0.0/16", "EnableNFTables": true, "Backend": {"Type": "vxlan"}}`, "network.json: this flanneld takes"},
	} {
		path := filepath.Join(t.TempDir(), "network.json")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		config, err := readConfig(path)
		if tt.want == "" && (err != nil || config.Network.String() != "10.244.0.0/16") {
			t.Errorf("readConfig(%s) = %v, %v", tt.text, config, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("readConfig(%s) = %v, want %q", tt.text, err, tt.want)
		}
	}
}
