//go:build guest

package rlimit

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kios/init/reap"
)

// The test binary is both stages of PID 1, and the daemon.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "stage1":
			if err := Set(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			unix.Exec("/proc/self/exe", []string{"init", "stage2"}, os.Environ())
		case "stage2":
			stage2()
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// stage2 shows its own limits and those with which a daemon starts: it is stopped
// before its first instruction, since a Go program would raise its own.
func stage2() {
	runtime.LockOSThread() // which alone may trace the daemon
	r := reap.New()
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}}
	p, err := r.Start([]string{"/proc/self/exe", "daemon"}, attr)
	if err != nil {
		fmt.Println(err)
		return
	}
	var status syscall.WaitStatus
	syscall.Wait4(p.Pid, &status, 0, nil)
	for _, pid := range []int{os.Getpid(), p.Pid} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		fmt.Printf("%s%v\n", text, err)
	}
}

func TestSet(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "stage1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := regexp.MustCompile(` +`).ReplaceAllString(string(out), " ")
	for _, want := range []string{
		"Max open files 1048575 1048576 files", // PID 1
		"Max open files 1024 1048576 files",    // the daemon
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the limits lack %q", want)
		}
	}
	for _, want := range []string{"Max processes unlimited unlimited", "Max core file size unlimited unlimited"} {
		if strings.Count(text, want) != 2 {
			t.Errorf("the limits of one or both lack %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
