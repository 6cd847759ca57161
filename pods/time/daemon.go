package chrony

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kios/pods/lazyregexp"
)

// UID is that of the user _chrony in the image, and of its group.
const UID = 123

// stopBound is how long chronyd may take to write its files and end.
const stopBound = 3 * time.Second

// askBound is how long it may take to answer. Milliseconds are usual.
const askBound = 5 * time.Second

// daemon is a running chronyd.
type daemon struct {
	cmd   *exec.Cmd
	lines chan string   // what it logs
	ended chan struct{} // closed after its end
}

// startDaemon starts chronyd as its own user from the first moment, with one
// capability. restarted says that the clock was right before in this boot: then
// it is not stepped again.
func (s *Service) startDaemon(restarted bool) (*daemon, error) {
	d := &daemon{cmd: s.command(restarted), lines: make(chan string), ended: make(chan struct{})}
	out, err := d.cmd.StderrPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start chronyd: %w", err)
	}
	go d.listen(out)
	return d, nil
}

// command returns chronyd with its arguments and its privileges.
func (s *Service) command(restarted bool) *exec.Cmd {
	args := []string{
		"-U",      // it is not root, and does not have to be
		"-F", "1", // a filter of system calls of its own, besides the container's
		"-d", // in the foreground, with its log on standard error
		"-f", s.configFile(),
	}
	if restarted {
		args = append(args, "-R")
	}
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: UID, Gid: UID}}
	if s.Observe {
		args = append(args, "-x")
	} else {
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_TIME}
	}
	cmd := exec.Command(s.Chronyd, args...)
	cmd.SysProcAttr = attr
	return cmd
}

// listen passes on what chronyd logs until it ends.
func (d *daemon) listen(out io.Reader) {
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		d.lines <- stamp().ReplaceAllString(scan.Text(), "")
	}
	_ = d.cmd.Wait() // ProcessState tells
	close(d.ended)
}

// stamp is the time before each of chronyd's lines; the kubelet keeps its own.
var stamp = lazyregexp.New(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ `)

// stop ends chronyd, which writes the clock's drift then. It is asked to: this
// process has no capability to kill another user's.
func (s *Service) stop(d *daemon) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopBound)
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := s.ask(ctx, "shutdown")
		asked <- err
	}()
	for {
		select {
		case line := <-d.lines:
			s.Log.Print("chronyd: ", line)
		case err := <-asked:
			if err != nil {
				return fmt.Errorf("stop chronyd: %w", err)
			}
			asked = nil
		case <-d.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop chronyd: it still runs after %s", stopBound)
		}
	}
}

// ask runs chronyc with a command and returns its answer. A chronyd that has just
// been started may not listen yet, so ask tries for a while.
func (s *Service) ask(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	args := append([]string{"-c", "-n", "-h", s.commandSocket()}, command...)
	for {
		out, err := exec.CommandContext(ctx, s.Chronyc, args...).CombinedOutput()
		answer := strings.TrimSpace(string(out))
		if err == nil {
			return answer, nil
		}
		if !strings.Contains(answer, "Could not open connection") {
			return "", fmt.Errorf("chronyc %s: %w: %s", strings.Join(command, " "), err, answer)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("chronyc %s: chronyd does not listen: %s", strings.Join(command, " "), answer)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
