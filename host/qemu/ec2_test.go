package qemu

import (
	"strings"
	"testing"
)

func TestEC2Args(t *testing.T) {
	e := &EC2{ID: "i-0e5b1c0d2a3f4b5c6", Type: "t3.nano", Service: []string{"/a b/kios", "it's,"}}
	args := strings.Join(Config{EC2: e, Accel: KVM}.args(nil, nil), " ")
	for _, want := range []string{
		"elevateprivileges=allow,spawn=allow",
		`guestfwd=tcp:169.254.169.254:80-cmd:'/a b/kios' 'it'\''s,,'`,
		"uuid=ec200000-0000-000",
		"type=2,manufacturer=Amazon EC2,asset=i-0e5b1c0d2a3f4b5c6",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("args have no %s: %s", want, args)
		}
	}
	if id := e.uuid(); len(id) != 36 || !strings.HasPrefix(id, "ec2") {
		t.Errorf("uuid = %s", id)
	}
	without := strings.Join(Config{Accel: KVM}.args(nil, nil), " ")
	if !strings.Contains(without, "spawn=deny") || strings.Contains(without, "guestfwd") {
		t.Errorf("without EC2: %s", without)
	}
}
