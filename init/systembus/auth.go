package systembus

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what a client says before it is let in.
const (
	maxAuthLine  = 512
	maxAuthLines = 32
)

// auth is the server's side of authentication. Its one mechanism is EXTERNAL:
// the client is who the kernel says it is. See "Authentication Protocol" in the
// D-Bus Specification.
//
//	             AUTH EXTERNAL hex             BEGIN
//	(waiting) ---------------------> (known) --------> messages
//	    |  AUTH EXTERNAL        DATA hex ^
//	    +------------> (challenged) -----+
type auth struct {
	uid        uint32 // who the kernel says the client is
	id         string // of the bus
	challenged bool
	known      bool
}

var errAuth = errors.New("it did not authenticate")

// run talks to the client until it may send messages.
func (a *auth) run(r *bufio.Reader, w io.Writer) error {
	if zero, err := r.ReadByte(); err != nil || zero != 0 {
		return errAuth // the byte that carries credentials on other systems
	}
	for range maxAuthLines {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		if line == "BEGIN" {
			if a.known {
				return nil
			}
			return errAuth
		}
		if _, err := io.WriteString(w, a.answer(line)+"\r\n"); err != nil {
			return err
		}
	}
	return errAuth
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for len(line) < maxAuthLine {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if line = append(line, b); b == '\n' {
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		}
	}
	return "", errAuth
}

const rejected = "REJECTED EXTERNAL"

func (a *auth) answer(line string) string {
	command, rest, _ := strings.Cut(line, " ")
	switch command {
	case "AUTH":
		a.known, a.challenged = false, false
		mechanism, response, given := strings.Cut(rest, " ")
		if mechanism != "EXTERNAL" {
			return rejected
		}
		if !given {
			a.challenged = true
			return "DATA"
		}
		return a.check(response)
	case "DATA":
		if !a.challenged {
			return "ERROR there was no question"
		}
		return a.check(rest)
	case "CANCEL", "ERROR":
		a.known, a.challenged = false, false
		return rejected
	case "NEGOTIATE_UNIX_FD":
		if a.known {
			return "AGREE_UNIX_FD"
		}
		return "ERROR authenticate first"
	}
	return "ERROR the command is not known"
}

// check compares who the client says it is with who it is. The response is in hex
// digits, or empty.
func (a *auth) check(response string) string {
	a.challenged = false
	claim, err := hex.DecodeString(response)
	if err != nil || len(claim) > 0 && string(claim) != fmt.Sprint(a.uid) {
		return rejected
	}
	a.known = true
	return "OK " + a.id
}
