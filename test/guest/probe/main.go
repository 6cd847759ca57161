// Command probe looks at a node from inside a privileged pod, for the tests: it
// shares the host's process and network namespaces, and has the host's root at
// /host. It has no shell around it, so it also does the few things that a test
// wants done.
//
//	probe sleep             be the pod's main process
//	probe [show] [PART...]  print a JSON document about the node, or only parts of it
//	probe kill NAME         SIGKILL the host's processes with that name
//	probe halt NAME...      SIGSTOP, after which they do nothing any more
//	probe abort NAME        SIGABRT, on which a Go program ends as in a panic
//	probe crash PID         have a process fault, which no handler of signals survives
//	probe cat FILE          print a file
//	probe write FILE TEXT   write a file and sync it
//	probe set FILE TEXT     write to a file of the kernel's, such as those in /proc/sys
//	probe list DIR          print the names in a directory, one a line
//	probe fill DIR          write into DIR/filler until the file system is full
//	probe sha256 FILE       print a file's digest
//	probe time              print the node's time in seconds since 1970
//	probe size DIR          print the size of the file system that DIR is on, in bytes
//
// Paths are the host's. The parts are the fields of node, in lower case; a part
// that contains a dot is the name of a sysctl.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const host = "/host"

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		check(show(nil))
		return
	}
	args := os.Args[2:]
	switch command := os.Args[1]; {
	case command == "sleep":
		sleep()
	case command == "show":
		check(show(args))
	case command == "kill" && len(args) == 1:
		check(kill(args[0], syscall.SIGKILL))
	case command == "halt":
		for _, name := range args {
			check(kill(name, syscall.SIGSTOP))
		}
	case command == "abort" && len(args) == 1:
		check(kill(args[0], syscall.SIGABRT))
	case command == "crash" && len(args) == 1:
		check(crash(args[0]))
	case command == "cat" && len(args) == 1:
		check(cat(args[0]))
	case command == "write" && len(args) > 1:
		check(write(args[0], strings.Join(args[1:], " ")))
	case command == "set" && len(args) == 2:
		check(os.WriteFile(onHost(args[0]), []byte(args[1]), 0))
	case command == "list" && len(args) == 1:
		check(listNames(args[0]))
	case command == "fill" && len(args) == 1:
		check(fill(args[0]))
	case command == "sha256" && len(args) == 1:
		check(digest(args[0]))
	case command == "time":
		fmt.Println(time.Now().Unix())
	case command == "size" && len(args) == 1:
		check(size(args[0]))
	default:
		log.Fatalf("probe: do not understand %q", os.Args[1:])
	}
}

func check(err error) {
	if err != nil {
		log.Fatalf("probe: %v", err)
	}
}

func onHost(path string) string { return filepath.Join(host, path) }

// open opens a file of the host, to whose root its symbolic links lead.
func open(path string) (*os.File, error) {
	root, err := unix.Open(host, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", host, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func sleep() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("probe: ready")
	<-stop
}

func kill(name string, signal syscall.Signal) error {
	processes, err := readProcesses()
	if err != nil {
		return err
	}
	killed := 0
	for _, p := range processes {
		if p.Name != name || !p.Host {
			continue
		}
		if err := syscall.Kill(p.PID, signal); err != nil {
			return fmt.Errorf("kill %s, process %d: %w", name, p.PID, err)
		}
		fmt.Println(p.PID)
		killed++
	}
	if killed == 0 {
		return fmt.Errorf("the host has no process %q", name)
	}
	return nil
}

// crash lets a process go on at address 0, as a debugger can.
func crash(text string) error {
	pid, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // which is the tracer
	if err := syscall.PtraceAttach(pid); err != nil {
		return fmt.Errorf("attach to %d: %w", pid, err)
	}
	if _, err := syscall.Wait4(pid, nil, syscall.WALL, nil); err != nil {
		return err
	}
	if err := jumpToZero(pid); err != nil {
		return err
	}
	return syscall.PtraceDetach(pid)
}

func cat(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(os.Stdout, f)
	return err
}

func write(path, text string) error {
	f, err := os.Create(onHost(path))
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text + "\n"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	return dir.Sync()
}

func listNames(dir string) error {
	entries, err := os.ReadDir(onHost(dir))
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	return err
}

// fill writes until there is no space, at last byte by byte, and prints how
// much went in.
func fill(dir string) error {
	f, err := os.Create(filepath.Join(onHost(dir), "filler"))
	if err != nil {
		return err
	}
	total := 0
	for block := make([]byte, 1<<20); len(block) > 0; {
		n, err := f.Write(block)
		total += n
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			block = block[:len(block)/16]
			continue
		}
		if err != nil {
			return err
		}
	}
	fmt.Println(total)
	// Space that was promised may turn out to be missing only now.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return f.Close()
}

func digest(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	fmt.Printf("%x\n", h.Sum(nil))
	return nil
}

func size(dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(onHost(dir), &st); err != nil {
		return err
	}
	fmt.Println(int64(st.Blocks) * st.Bsize)
	return nil
}
