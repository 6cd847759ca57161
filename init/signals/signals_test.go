package signals

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { runtime.LockOSThread() } // the main goroutine stays on the first thread

// The test binary is PID 1 of a namespace, and who sends it signals.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			beInit()
		case "send":
			send()
		}
	}
	os.Exit(m.Run())
}

// beInit is a PID 1 that is sent every signal in every way, and then says what it
// got. It ends with 0 if it is alive and sound then.
func beInit() {
	caught := Catch()
	var stray atomic.Int64
	go caught.LogStrays(func(format string, args ...any) {
		stray.Add(1)
		fmt.Printf(format+"\n", args...)
	})
	cmd := exec.Command("/proc/self/exe", "send")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("the sender:", err)
		os.Exit(1)
	}
	seen := map[os.Signal]bool{}
	for len(seen) < len(stops) {
		seen[<-caught.Stop] = true
	}
	for stray.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := stray.Load(); n != 1 {
		fmt.Println("strays were logged", n, "times")
	}
	fmt.Println(faultBecomesPanic(nil))
	killWhileFirstThreadBlocks()
	os.Exit(0)
}

// killWhileFirstThreadBlocks sends PID 1 every signal while its first thread gets none, as
// while it starts another one: others have to. If one is to end PID 1, the kernel has decided
// that when kill returns.
func killWhileFirstThreadBlocks() {
	all := ^uint64(0)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, unsafe.Sizeof(all), 0, 0)
	for n := syscall.Signal(1); n <= last; n++ {
		unix.Kill(1, n)
	}
}

// faultBecomesPanic makes the processor's own SIGSEGV.
func faultBecomesPanic(p *int) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	return fmt.Sprint(*p)
}

// send sends every signal to PID 1, as kill, tgkill, sigqueue and files do. SIGKILL and
// SIGSTOP have no effect there. A stop signal comes last, so that it is seen that
// strays leave room for it.
func send() {
	for _, code := range []int32{siQueue, siTimer, siMesgq, siAsyncIO, siSigIO} {
		for n := 1; n <= last; n++ {
			queue(1, n, code)
		}
	}
	for n := 1; n <= last; n++ {
		signalFromFile(1, n)
	}
	for n := syscall.Signal(1); n <= last; n++ {
		for range 100 {
			unix.Tgkill(1, 1, n)
			unix.Kill(1, n)
		}
	}
	for _, sig := range stops {
		unix.Kill(1, sig.(syscall.Signal))
	}
	os.Exit(0)
}

// What si_code is for signals of sigqueue, timers, message queues and files; see sigaction(2).
const (
	siQueue   = -1
	siTimer   = -2
	siMesgq   = -3
	siAsyncIO = -4
	siSigIO   = -5
)

// signalFromFile has the kernel send a signal because a file can be read; see
// F_SETSIG in fcntl(2).
func signalFromFile(pid, sig int) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		os.Exit(4)
	}
	for _, c := range []struct{ command, value int }{
		{unix.F_SETOWN, pid}, {unix.F_SETSIG, sig}, {unix.F_SETFL, unix.O_ASYNC},
	} {
		if _, err := unix.FcntlInt(uintptr(fds[0]), c.command, c.value); err != nil {
			fmt.Println("fcntl", c, err)
			os.Exit(5)
		}
	}
	unix.Write(fds[1], []byte{0})
	unix.Close(fds[0])
	unix.Close(fds[1])
}

func queue(pid, sig int, code int32) {
	info := struct {
		signo, errno, code int32
		rest               [29]int32
	}{int32(sig), 0, code, [29]int32{}}
	unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(&info)))
}

func TestNothingEndsPID1(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "init")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	end := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer end.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("PID 1 ended: %v\n%.3000s", err, out)
	}
	for _, want := range []string{"to PID 1: it is ignored", "nil pointer dereference"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "times") {
		t.Errorf("%s", out)
	}
}

func TestName(t *testing.T) {
	for sig, want := range map[os.Signal]string{syscall.SIGHUP: "SIGHUP", syscall.Signal(40): "signal 40"} {
		if got := Name(sig); got != want {
			t.Errorf("Name(%d) = %q, want %q", sig, got, want)
		}
	}
}

func TestStopsAreNoStrays(t *testing.T) {
	if got, want := len(strays())+len(stops)+2, last; got != want { // SIGCHLD and SIGURG
		t.Errorf("%d signals are dealt with, want %d", got, want)
	}
}
