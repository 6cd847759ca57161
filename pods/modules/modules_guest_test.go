//go:build guest

package modules

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kios/internal/modprobe"
	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// The guest has our kernel, its modules, and a card of which the driver is one
// of them: QEMU's sdhci-pci, which needs cqhci, sdhci and mmc_core.
const (
	cardModule = "sdhci_pci"
	cardNeeds  = "mmc_core"
)

// service runs the real thing, with a file of its own.
func newService(t *testing.T, text string) (s *Service, out *output) {
	t.Helper()
	release, err := modprobe.Release()
	lab.Must(t, err)
	out = &output{}
	s = &Service{
		Sysfs:   "/sys",
		Modules: modprobe.Dir(release),
		File:    filepath.Join(t.TempDir(), "modules.yaml"),
		Log:     log.New(out, "", 0),
	}
	lab.WriteFile(t, s.File, text)
	return s, out
}

func start(t *testing.T, s *Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// unload removes modules, in this order, and what they need if nothing else
// does.
func unload(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil && err != unix.ENOENT {
			t.Fatalf("remove %s: %v", name, err)
		}
	}
}

func live(name string) bool {
	state, err := os.ReadFile(filepath.Join("/sys/module", name, "initstate"))
	return err == nil && string(state) == "live\n"
}

// cardDir returns the directory in sysfs of the device that the card is.
func cardDir(t *testing.T) string {
	t.Helper()
	classes, _ := filepath.Glob("/sys/bus/pci/devices/*/class")
	for _, class := range classes {
		if text, _ := os.ReadFile(class); strings.HasPrefix(string(text), "0x0805") { // an SD host controller
			return filepath.Dir(class)
		}
	}
	t.Fatal("the guest has no sdhci-pci device: add -device sdhci-pci to its command line")
	return ""
}

func echo(t *testing.T, text, file string) {
	t.Helper()
	lab.Must(t, os.WriteFile(file, []byte(text), 0))
}

// TestHardware finds the card at the start, and again when it is plugged in
// while the service runs.
func TestHardware(t *testing.T) {
	card := cardDir(t)
	s, out := newService(t, "")
	start(t, s)
	out.expect(t, "devices without a driver")
	t.Log("\n" + out.String())
	if !live(cardModule) || !live(cardNeeds) {
		t.Fatalf("%s and %s are not loaded", cardModule, cardNeeds)
	}
	for _, want := range []string{"loaded mmc_core: sdhci_pci needs it\n", "loaded sdhci_pci: pci device " + filepath.Base(card) + " (pci:v"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
	before := out.String()
	echo(t, "1", filepath.Join(card, "remove"))
	unload(t, "sdhci_pci", "cqhci", "sdhci", "mmc_core", "iosf_mbi")
	echo(t, "1", "/sys/bus/pci/rescan")
	deadline := time.Now().Add(10 * time.Second)
	for !live(cardModule) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if !live(cardModule) {
		t.Errorf("%s is not loaded after the card was plugged in", cardModule)
	}
	out.expect(t, before+"loaded ")
}

// TestFile loads with parameters what the file names, when it starts and when
// the file changes.
func TestFile(t *testing.T) {
	unload(t, "nbd", "dm_mirror", "dm_region_hash", "dm_log")
	s, out := newService(t, "load: [{name: nbd, parameters: {nbds_max: 3, typo: 1}}, no-such, ext4]\n")
	start(t, s)
	out.expect(t, "devices without a driver")
	if got, _ := os.ReadFile("/sys/module/nbd/parameters/nbds_max"); string(got) != "3\n" {
		t.Errorf("nbds_max = %q", got)
	}
	for _, want := range []string{
		"loaded nbd nbds_max=3 typo=1: " + s.File + " names it\n",
		"nbd has no parameter typo; it has: max_part nbds_max\n",
		"there is no module no-such, neither built into the kernel nor in /lib/modules/",
		"ext4 is built in (",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, out)
		}
	}
	lab.WriteFile(t, s.File, "load: [dm-mirror, {name: nbd, parameters: nbds_max=4}]\n")
	out.expect(t, "loaded dm_log: dm_mirror needs it\n")
	out.expect(t, "loaded dm_mirror: "+s.File+" names it\n")
	out.expect(t, "nbd was already loaded, with nbds_max=3 instead of 4: write nbd.nbds_max=4 on the kernel command line\n")
}

// TestNever leaves the card without its driver.
func TestNever(t *testing.T) {
	cardDir(t)
	unload(t, "sdhci_pci", "cqhci", "sdhci", "mmc_core")
	s, out := newService(t, "never: [sdhci]\n")
	start(t, s)
	out.expect(t, "devices without a driver")
	if live(cardModule) || live("sdhci") {
		t.Error("what is never to be loaded is loaded")
	}
	if want := "): it needs sdhci, which " + s.File + " names under never\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in the log:\n%s", want, out)
	}
	lab.WriteFile(t, s.File, "")
	out.expect(t, "loaded sdhci_pci: ")
}

// TestRefused tries what the kernel refuses, each of which costs one line.
func TestRefused(t *testing.T) {
	unload(t, "nbd")
	s, out := newService(t, "load: [{name: nbd, parameters: nbds_max=many}]\n")
	start(t, s)
	out.expect(t, "devices without a driver")
	want := "nbd.ko: invalid argument: probably a value in its parameters (nbds_max=many); the kernel's log tells which\n"
	if !strings.Contains(out.String(), want) || live("nbd") {
		t.Errorf("no %q in the log:\n%s", want, out)
	}
	nbd := filepath.Join(s.Modules, "kernel/drivers/block/nbd.ko")
	signed, err := os.ReadFile(nbd)
	lab.Must(t, err)
	unsigned := signed[:len(signed)-len("~Module signature appended~\n")]
	changed := bytes.Replace(signed, []byte("network block devices"), []byte("network block DEVICES"), 1)
	for name, tt := range map[string]struct {
		module []byte
		want   string
	}{
		"unsigned":  {unsigned, "it is not signed with this kernel's key"},
		"changed":   {changed, "it is not signed with this kernel's key"},
		"no module": {[]byte("#!/bin/sh\n"), "load "},
	} {
		t.Run(name, func(t *testing.T) {
			s, out := newService(t, "load: [nbd]\n")
			s.Modules = t.TempDir()
			lab.WriteFile(t, filepath.Join(s.Modules, "modules.dep"), "nbd.ko:\n")
			lab.WriteFile(t, filepath.Join(s.Modules, "nbd.ko"), string(tt.module))
			start(t, s)
			out.expect(t, "devices without a driver")
			t.Log("\n" + out.String())
			if strings.Count(out.String(), tt.want) != 1 || live("nbd") {
				t.Errorf("no %q in the log:\n%s", tt.want, out)
			}
		})
	}
}

// TestForged sends an announcement to the kernel's group as a program, and lets
// the kernel send one that is true afterwards.
func TestForged(t *testing.T) {
	card := cardDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := listen(ctx)
	lab.Must(t, err)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	lab.Must(t, err)
	defer unix.Close(fd)
	forged := "add@/devices/forged\x00ACTION=add\x00DEVPATH=/devices/forged\x00SUBSYSTEM=pci\x00MODALIAS=pci:forged\x00"
	if err := unix.Sendto(fd, []byte(forged), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		t.Fatalf("send: %v (a program with CAP_NET_ADMIN may)", err)
	}
	echo(t, "add", filepath.Join(card, "uevent"))
	select {
	case e := <-events:
		if want := "pci device " + filepath.Base(card); e.device.name != want {
			t.Errorf("the first announcement is of %q, want %q", e.device.name, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("the kernel's announcement does not come")
	}
}

// TestLost lets more announcements come than the socket holds while nobody
// reads them.
func TestLost(t *testing.T) {
	card := cardDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := listen(ctx)
	lab.Must(t, err)
	for range 2000 {
		echo(t, "add", filepath.Join(card, "uevent"))
	}
	// They end with the last that fitted into the socket.
	lost := 0
	for {
		select {
		case e := <-events:
			if e.lost {
				lost++
			}
			continue
		case <-time.After(2 * time.Second):
		}
		break
	}
	if lost == 0 {
		t.Error("nobody is told that announcements were lost")
	}
}

// TestOtherNamespace documents who hears the kernel: every network namespace
// that belongs to the first user namespace.
func TestOtherNamespace(t *testing.T) {
	card := cardDir(t)
	result := make(chan string, 1)
	go func() {
		// This thread ends with the goroutine, because it is never unlocked.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Sprint(err)
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events, err := listen(ctx)
		if err != nil {
			result <- fmt.Sprint(err)
			return
		}
		os.WriteFile(filepath.Join(card, "uevent"), []byte("add"), 0)
		select {
		case e := <-events:
			result <- e.device.name
		case <-time.After(5 * time.Second):
			result <- "nothing"
		}
	}()
	if got, want := <-result, "pci device "+filepath.Base(card); got != want {
		t.Errorf("heard: %s, want %s", got, want)
	}
}
