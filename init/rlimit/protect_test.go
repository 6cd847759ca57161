package rlimit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// role is the variable that makes the test binary one of the two processes of
// TestProtect.
const role = "KIOS_TEST_ROLE"

func init() {
	switch os.Getenv(role) {
	case "protected":
		beProtected()
	case "stranger":
		beStranger()
	default:
		return
	}
	os.Exit(0)
}

// beProtected is PID 1, which starts a stranger.
func beProtected() {
	if err := Protect(); err != nil {
		fmt.Println(err)
		return
	}
	beTarget()
}

func beTarget() {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=stranger")
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s%v", out, err)
}

// beStranger is a process of user 0 without a capability.
func beStranger() {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&head, &none[0]); err != nil {
		fmt.Println(err)
		return
	}
	_, _, saved := unix.Getresgid()
	var now unix.Rlimit
	err := unix.Prlimit(os.Getppid(), unix.RLIMIT_CPU, nil, &now)
	fmt.Printf("saved group %d, prlimit: %v\n", saved, err)
}

func TestProtect(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may set the saved group")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=protected")
	out, err := cmd.CombinedOutput()
	want := "saved group 0, prlimit: operation not permitted\n<nil>"
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("a stranger sets limits: %s, %v; want %s", out, err, want)
	}
}
