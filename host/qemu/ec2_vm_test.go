//go:build vm

package qemu

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/cpio"
	"kios/host/imds"
	"kios/test/guest"
	"kios/test/lab"
)

// QEMU starts this program for each connection.
func init() {
	if len(os.Args) == 3 && os.Args[1] == "relay" {
		if imds.Relay(os.Args[2], os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// TestEC2 has a guest ask the metadata service, several times at once.
func TestEC2(t *testing.T) {
	dir, err := os.MkdirTemp("", "kios it's, ec2-") // a name to be quoted
	lab.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "imds.sock")
	a := lab.Arch(t)
	m := imds.Machine{ID: "i-0e5b1c0d2a3f4b5c6", Type: "t3.micro", Arch: a.EC2.Machine, Region: "eu-west-1", MAC: "52:54:00:12:34:56", Address: EC2Address, UserData: []byte("user data")}
	stop, err := imds.Start(socket, m)
	lab.Must(t, err)
	defer stop()
	self, err := os.Executable()
	lab.Must(t, err)
	vm, err := Start(t.Context(), Config{
		Arch: a, Kernel: lab.Kernel(t), Initrd: fetchInitrd(t, dir), Append: "console=" + a.QEMU.Console + " loglevel=4 panic=-1 rdinit=/init",
		MAC: m.MAC, Memory: 256 << 20, NoReboot: true, Dir: dir,
		EC2: &EC2{ID: m.ID, Type: m.Type, Service: []string{self, "relay", socket}},
	})
	lab.Must(t, err)
	t.Cleanup(vm.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), vm.Scale(20*time.Second))
	defer cancel()
	if _, err := vm.Wait(ctx); err != nil {
		t.Error(err)
	}
	console, err := os.ReadFile(filepath.Join(dir, "console.log"))
	lab.Must(t, err)
	for _, want := range []string{
		"sys_vendor Amazon EC2 <nil>", "product_name t3.micro <nil>", "product_uuid ec2", "board_asset_tag " + m.ID,
		`meta-data/instance-id "` + m.ID + `" <nil>`, `meta-data/mac "52:54:00:12:34:56" <nil>`, `meta-data/placement/region "eu-west-1" <nil>`, `user-data "user data" <nil>`,
	} {
		if !strings.Contains(string(console), "@@ "+want) {
			t.Errorf("the guest has not said %s", want)
		}
	}
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(dir, "qemu.log"))
		t.Logf("%s\n%s", console, log)
	}
}

// fetchInitrd is an initramfs with the program fetch.
func fetchInitrd(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "fetch")
	lab.Must(t, guest.Compile(lab.Arch(t), program, "fetch"))
	var archive bytes.Buffer
	w := cpio.NewWriter(&archive)
	for _, name := range []string{"dev", "sys"} {
		lab.Must(t, w.Dir(name, 0o755))
	}
	lab.Must(t, w.CharDevice("dev/console", 0o600, 5, 1))
	lab.Must(t, w.FileFrom("init", 0o755, program))
	lab.Must(t, w.Close())
	initrd := filepath.Join(dir, "initrd")
	lab.Must(t, os.WriteFile(initrd, archive.Bytes(), 0o600))
	return initrd
}
