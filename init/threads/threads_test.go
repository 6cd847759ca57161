package threads

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary is a PID 1 that gets no more threads.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "reserve" || os.Args[1] == "none") {
		if os.Args[1] == "reserve" {
			Reserve()
		}
		starve()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// starve has goroutines wait in system calls when the kernel has no more threads.
func starve() {
	const waiting = maxWaiting - 4 // Go may want one for itself
	none := unix.Rlimit{Cur: 1, Max: 1}
	if err := unix.Prlimit(0, unix.RLIMIT_NPROC, &none, nil); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], 0); err != nil { // blocking
		fmt.Println(err)
		os.Exit(3)
	}
	var reading, read sync.WaitGroup
	reading.Add(waiting)
	for range waiting {
		read.Go(func() {
			reading.Done()
			unix.Read(fds[0], make([]byte, 1))
		})
	}
	reading.Wait() // all but the last are in a system call
	unix.Write(fds[1], make([]byte, waiting))
	read.Wait()
	fmt.Println("alive")
}

// run runs it as a user whom the limit of processes holds. It is nobody's but for the
// threads of this test.
func run(what string) string {
	cmd := exec.Command("/proc/self/exe", what)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64321, Gid: 64321}}
	}
	out, err := cmd.CombinedOutput()
	return fmt.Sprintf("%.2000s%v", out, err)
}

func TestReserve(t *testing.T) {
	if got := run("none"); !strings.Contains(got, "runtime") { // with cgo, the text is another one
		t.Fatalf("without a reserve it should end for want of a thread:\n%s", got)
	}
	for range 3 {
		if got := run("reserve"); got != "alive\n<nil>" {
			t.Fatalf("with a reserve:\n%s", got)
		}
	}
}
