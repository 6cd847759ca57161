// Package control is how a pod asks PID 1 for the few things that only PID 1
// can do. PID 1 listens on the socket /run/kios/control, which belongs to root
// and has mode 0600; a pod gets it by a hostPath volume. A request is one line,
// "data-partition /dev/vda2" or "hostname node-1"; the answer is one line, "ok"
// or "error: " and the reason. Then the connection is closed.
//
// The system bus is to take its place; the requests stay.
package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Path is where PID 1 listens.
const Path = "/run/kios/control"

// maxLine is more than any request or answer has.
const maxLine = 4096

// Request is what a pod can ask for.
type Request interface {
	line() string
}

// DataPartition says that the kiOS data partition on Device is ready: PID 1
// moves the node onto it if it has none yet.
type DataPartition struct {
	Device string // such as /dev/vda2
}

func (r DataPartition) line() string { return "data-partition " + r.Device }

// Hostname says that the network offers a name. PID 1 takes it if
// /etc/hostname names none.
type Hostname struct {
	Name string
}

func (r Hostname) line() string { return "hostname " + r.Name }

// parse reads a request back.
func parse(line string) (Request, error) {
	verb, value, _ := strings.Cut(strings.TrimSpace(line), " ")
	if value == "" || strings.ContainsAny(value, " \t") {
		return nil, fmt.Errorf("%q is no request (there are: data-partition DEVICE, hostname NAME)", line)
	}
	switch verb {
	case "data-partition":
		return DataPartition{value}, nil
	case "hostname":
		return Hostname{value}, nil
	}
	return nil, fmt.Errorf("%q is no request (there are: data-partition DEVICE, hostname NAME)", verb)
}

// Send asks PID 1 at the socket path and returns what it has against it. It
// takes until the request is carried out: seconds, for a data partition.
func Send(ctx context.Context, path string, r Request) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := fmt.Fprintln(conn, r.line()); err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	answer, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
	answer = strings.TrimSpace(answer)
	if answer == "ok" {
		return nil
	}
	if reason, found := strings.CutPrefix(answer, "error: "); found {
		return errors.New(reason)
	}
	return fmt.Errorf("PID 1 did not answer: %w", err)
}
