// Command workload is the whole image kios.local/workload: whatever a pod of the
// cluster's tests has to do, and the few tools that kubectl expects in one.
//
//	workload sleep              wait for SIGTERM
//	workload linger TIME        be told to stop, say so, and take TIME for it
//	workload stubborn           ignore SIGTERM
//	workload exit CODE [TEXT]   print TEXT and end
//	workload tick               print a number each second
//	workload echo               print what comes in, line by line
//	workload serve [FLAGS]      answer HTTP with the pod's name; see serve.go
//	workload get URL            print what an HTTP server answers
//	workload follow URL FILE    ask it again and again, and keep a file like its answer
//	workload lookup NAME        print the addresses of a name
//	workload cat FILE...        print files
//	workload write FILE TEXT    write a file
//	workload list DIR           print names, modes and owners
//	workload mkdir DIR          make a directory
//	workload install FILE       copy itself
//	workload env                print the environment
//	workload eat MIB            use memory, and keep it
//	workload burn               use a processor, for ever
//	workload fork N             see whether N processes can run at once
//	workload threads N          see whether N threads can run at once
//	workload signal PID SIGNAL... send signals, by number, a range of them as 1-64
//
// Called tar or test, it is as much of these as kubectl cp needs. Called provide, it is
// a credential provider for the kubelet, with the arguments REGISTRY USER PASSWORD.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commands are called with the arguments after their name.
var commands = map[string]func([]string) error{
	"sleep":    func([]string) error { linger(0); return nil },
	"linger":   lingerFor,
	"stubborn": func([]string) error { stubborn(); return nil },
	"exit":     exit,
	"tick":     func([]string) error { tick(); return nil },
	"echo":     func([]string) error { return echo() },
	"serve":    serve,
	"get":      get,
	"follow":   func(args []string) error { follow(args[0], args[1]); return nil },
	"lookup":   lookup,
	"cat":      cat,
	"write":    write,
	"list":     list,
	"mkdir":    func(args []string) error { return os.Mkdir(args[0], 0o755) },
	"install":  install,
	"provide":  provide,
	"env":      func([]string) error { fmt.Println(strings.Join(os.Environ(), "\n")); return nil },
	"eat":      eat,
	"burn":     func([]string) error { burn(); return nil },
	"fork":     fork,
	"threads":  threads,
	"signal":   signals,
	"tar":      tarCommand,
	"test":     testCommand,
}

// fewest says how many arguments a command needs, if any.
var fewest = map[string]int{"linger": 1, "exit": 1, "get": 1, "follow": 2, "lookup": 1, "cat": 1, "write": 2, "list": 1, "mkdir": 1, "install": 1, "provide": 3, "eat": 1, "fork": 1, "threads": 1, "signal": 2}

func main() {
	log.SetFlags(0)
	args := os.Args
	args[0] = filepath.Base(args[0])
	if _, ok := commands[args[0]]; !ok { // not called by a link's name
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"sleep"}
	}
	command, ok := commands[args[0]]
	if !ok || len(args)-1 < fewest[args[0]] {
		log.Fatalf("workload: do not understand %q", args)
	}
	check(command(args[1:]))
}

func lingerFor(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	linger(d)
	return nil
}

func linger(d time.Duration) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	fmt.Printf("%s: goodbye\n", <-stop)
	time.Sleep(d)
}

func stubborn() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	for {
		time.Sleep(time.Hour)
	}
}

func exit(args []string) error {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(args[1:], " "))
	os.Exit(code)
	return nil
}

func tick() {
	for i := 1; ; i++ {
		fmt.Println("tick", i)
		time.Sleep(time.Second)
	}
}

func echo() error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("echo:", lines.Text())
	}
	return lines.Err()
}

func install(args []string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], self, 0o755)
}

// provide answers the kubelet's question for credentials (CredentialProviderRequest,
// k8s.io/kubelet/pkg/apis/credentialprovider/v1).
func provide(args []string) error {
	var request struct{ Image string }
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return err
	}
	if !strings.HasPrefix(request.Image, args[0]+"/") {
		return fmt.Errorf("asked for %q, which is not in %s", request.Image, args[0])
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"apiVersion":    "credentialprovider.kubelet.k8s.io/v1",
		"kind":          "CredentialProviderResponse",
		"cacheKeyType":  "Registry",
		"cacheDuration": "1m",
		"auth":          map[string]any{args[0]: map[string]string{"username": args[1], "password": args[2]}},
	})
}

func get(args []string) error {
	text, err := fetch(args[0])
	fmt.Printf("%s", text)
	return err
}

func fetch(url string) ([]byte, error) {
	client := &http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// follow replaces the file as a whole, as a pod that brings a node its
// configuration has to.
func follow(url, path string) {
	var last []byte
	for ; ; time.Sleep(time.Second) {
		text, err := fetch(url)
		if err != nil || bytes.Equal(text, last) {
			continue
		}
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path+".new", text, 0o600))
		check(os.Rename(path+".new", path))
		fmt.Println("wrote", path)
		last = text
	}
}

func check(err error) {
	if err != nil {
		log.Fatalf("workload: %v", err)
	}
}

func lookup(args []string) error {
	addresses, err := net.LookupHost(args[0])
	fmt.Println(strings.Join(addresses, "\n"))
	return err
}

func cat(args []string) error {
	for _, path := range args {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(os.Stdout, f); err != nil {
			return err
		}
	}
	return nil
}

func write(args []string) error {
	return os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")+"\n"), 0o644)
}

func list(args []string) error {
	entries, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(args[0], e.Name()))
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Println(e.Name(), info.Mode(), owner.Uid, owner.Gid)
	}
	return nil
}

// eat writes to each page, or the memory would only be promised.
func eat(args []string) error {
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var eaten [][]byte
	for range mib {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += os.Getpagesize() {
			piece[i] = 1
		}
		eaten = append(eaten, piece)
	}
	fmt.Println("ate", len(eaten), "MiB")
	linger(0)
	return nil
}

func burn() {
	for sum := sha256.Sum256(nil); ; sum = sha256.Sum256(sum[:]) {
		runtime.KeepAlive(sum)
	}
}

// fork prints how many of the processes that it was asked for could be started.
// They are copies of this one that never get to run any Go code, since that
// needs threads, which count as processes.
func fork(args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	started, errno := 0, syscall.Errno(0)
	for ; started < want && errno == 0; started++ {
		errno = spawn()
	}
	if errno != 0 {
		fmt.Printf("forked %d of %d: %v\n", started-1, want, errno)
		return nil
	}
	fmt.Printf("forked all %d\n", want)
	return nil
}

// threads starts threads that wait. When there are no more to be had, Go ends the
// program and says how many there were.
func threads(args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	debug.SetMaxThreads(want + 100)
	var started sync.WaitGroup
	for range want {
		started.Add(1)
		go func() {
			runtime.LockOSThread()
			started.Done()
			syscall.Pause()
		}()
	}
	started.Wait()
	fmt.Printf("started all %d threads\n", want)
	linger(0)
	return nil
}

// signals sends signals to a process of the namespace.
func signals(args []string) error {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for _, text := range args[1:] {
		from, to, found := strings.Cut(text, "-")
		if !found {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		for s := first; s <= last; s++ {
			fmt.Printf("signal %d to %d: %v\n", s, pid, syscall.Kill(pid, syscall.Signal(s)))
		}
	}
	linger(0)
	return nil
}

// spawn starts a process that waits to be killed.
//
//go:norace
//go:nosplit
func spawn() syscall.Errno {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 && errno == 0 {
		syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // of no file, without a timeout
	}
	return errno
}

// testCommand is "test -d DIR".
func testCommand(args []string) error {
	if len(args) != 2 || args[0] != "-d" {
		return fmt.Errorf("test: do not understand %q", args)
	}
	info, err := os.Stat(args[1])
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", args[1])
	}
	return err
}

func newFlags(name string) *flag.FlagSet {
	return flag.NewFlagSet(name, flag.ExitOnError)
}
