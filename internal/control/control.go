// Package control is how a pod asks PID 1 for the few things that only PID 1
// can do. PID 1 listens in the directory /run/kios/control, on one socket for each
// kind of request, so that a pod can be given one and not the others. They belong
// to root and have mode 0600; a pod gets one by a hostPath volume. A request is one
// line with a value, such as "/dev/vda2" or "node-1"; the answer is one line: "ok", or
// "error: " and the reason, or "later: " and the reason, if it is a passing one. Then the
// connection is closed.
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

// Dir is where PID 1 listens.
const Dir = "/run/kios/control"

const (
	// DataPartition takes the device of a kiOS data partition that is ready, such as
	// /dev/vda2: PID 1 moves the node onto it if it has none yet.
	DataPartition = Dir + "/data-partition"

	// Hostname takes a name that the network offers. PID 1 uses it if /etc/hostname
	// names none.
	Hostname = Dir + "/hostname"

	// PowerOff takes a word that says why, such as spot-terminate. PID 1 begins to stop
	// the node as for its power button, and answers before that is done.
	PowerOff = Dir + "/power-off"

	// OtherMachine takes a word that says who found out that the disk was in another machine,
	// where firmware calls both the same. PID 1 forgets what it keeps of that one: with which
	// files the daemons worked, and the name that the network offered.
	OtherMachine = Dir + "/other-machine"
)

// maxLine is more than any request or answer has.
const maxLine = 4096

// Refusal is PID 1's answer that it does not do what it was asked for.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Later is PID 1's answer that it does not do now what it was asked for, and may do so
// when it is asked again.
type Later string

func (l Later) Error() string { return string(l) }

// Send asks PID 1 at the socket path and returns what it has against it, which is
// a Refusal or Later if PID 1 says so. It takes until the request is carried out: seconds,
// for a data partition.
func Send(ctx context.Context, path, value string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := fmt.Fprintln(conn, value); err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	answer, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
	answer = strings.TrimSpace(answer)
	if answer == "ok" {
		return nil
	}
	if reason, found := strings.CutPrefix(answer, "error: "); found {
		return Refusal(reason)
	}
	if reason, found := strings.CutPrefix(answer, "later: "); found {
		return Later(reason)
	}
	return fmt.Errorf("PID 1 did not answer: %w", err)
}

// parse reads a request back.
func parse(line string) (string, error) {
	value := strings.TrimSpace(line)
	if value == "" || strings.ContainsAny(value, " \t") {
		return "", errors.New("a request is one line with one word")
	}
	return value, nil
}
