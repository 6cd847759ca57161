package main

import (
	"net"
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
