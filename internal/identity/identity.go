// Package identity decides who this machine is: its machine id, in the form of
// machine-id(5), its host name, and the line of /etc/hosts that makes the name
// resolve. It works on texts; reading and writing the files is the boot's.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kios/internal/rfc1123"
)

// ErrEmpty says that a file is there but holds nothing, which asks for the
// default just as no file does.
var ErrEmpty = errors.New("it is empty")

// NotUsed is what is said of a file with another mistake.
func NotUsed(file string, err error) error { return fmt.Errorf("%s is not used: %w", file, err) }

// ParseMachineID reads the text of /etc/machine-id.
func ParseMachineID(text string) (string, error) {
	id := strings.TrimSpace(text)
	switch {
	case id == "" || id == "uninitialized":
		return "", ErrEmpty
	case !isHex(id, 32) || strings.Trim(id, "0") == "":
		return "", errors.New("it is not 32 lower-case hexadecimal digits")
	}
	return id, nil
}

// isHex reports whether s has so many lower-case hexadecimal digits and nothing
// else. (PID 1 does without regexp: compiling is a part of every mount.)
func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// isUUID reports whether s is a UUID in lower case.
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	lengths := []int{8, 4, 4, 4, 12}
	if len(groups) != len(lengths) {
		return false
	}
	for i, group := range groups {
		if !isHex(group, lengths[i]) {
			return false
		}
	}
	return true
}

// shared are product UUIDs that a vendor gave to many machines.
var shared = []string{
	"03000200-0400-0500-0006-000700080009",
	"00020003-0004-0005-0006-000700080009",
	"12345678-1234-5678-90ab-cddeefaabbcc",
	"4c4c4544-0000-2010-8020-80c04f202020",
}

// NewMachineID makes a machine id. It is the same at every boot if firmware
// has given the machine a UUID of its own (the text of DMI's product_uuid),
// and random otherwise. The UUID is hashed, because some take it for a secret
// and the machine id is none.
func NewMachineID(uuid string) string {
	uuid = strings.ToLower(strings.TrimSpace(uuid))
	seed := []byte("kios machine-id " + uuid)
	if !Unique(uuid) {
		seed = make([]byte, 32)
		rand.Read(seed) // never fails: it would end the program
	}
	sum := sha256.Sum256(seed)
	return hex.EncodeToString(sum[:16])
}

// Unique reports whether a UUID, in lower case, looks as if it was given to one machine: not
// one digit all over, and not known to be on many.
func Unique(uuid string) bool {
	digits := strings.ReplaceAll(uuid, "-", "")
	return isUUID(uuid) && strings.Trim(digits, digits[:1]) != "" && !slices.Contains(shared, uuid)
}

// SameUUID reports whether two UUIDs, in lower case, are one. Firmware gives the first three
// groups in either order of bytes, and another version of it may give them in the other.
func SameUUID(a, b string) bool { return a == b || a == Swapped(b) }

// Swapped returns a UUID with the bytes of the first three groups in the other order. It
// leaves alone what is no UUID.
func Swapped(uuid string) string {
	if !isUUID(uuid) {
		return uuid
	}
	groups := strings.Split(uuid, "-")
	for i, group := range groups[:3] {
		var swapped string
		for at := 0; at < len(group); at += 2 {
			swapped = group[at:at+2] + swapped
		}
		groups[i] = swapped
	}
	return strings.Join(groups, "-")
}

// maxHostname is the longest name the kernel takes.
const maxHostname = 64

// ParseHostname reads the text of /etc/hostname as hostname(5) has it: its first line
// that is neither empty nor a comment, in lower case as the kubelet would make it.
func ParseHostname(text string) (string, error) {
	name := strings.ToLower(firstLine(text))
	if name == "" {
		return "", ErrEmpty
	}
	if len(name) > maxHostname {
		return "", fmt.Errorf("the name has %d characters, at most %d are possible", len(name), maxHostname)
	}
	for part := range strings.SplitSeq(name, ".") {
		if !rfc1123.IsLabel(part) {
			return "", fmt.Errorf("%q is no host name: only letters, digits and - are possible between dots, and - neither first nor last", name)
		}
	}
	return name, nil
}

// firstLine returns the first line that is neither empty nor a comment, without the
// blanks around it.
func firstLine(text string) string {
	text = strings.TrimPrefix(text, "\ufeff") // some editors begin files with it
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// Hostname makes a name for a machine that was given none.
func Hostname(id string) string {
	sum := sha256.Sum256([]byte("kios hostname " + id))
	return "kios-" + hex.EncodeToString(sum[:4])
}

// mark ends the line that is ours in /etc/hosts.
const mark = "# this node, kept by kiOS"

// Hosts returns the text of /etc/hosts with all lines of the user's, and one
// that gives name an address if none of theirs does: the kubelet looks its
// node's name up, and waits for a DNS server otherwise. The address is that of
// Debian; the kubelet does not take a loopback address for the node's.
func Hosts(text, name string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); !strings.HasSuffix(line, mark) {
			lines = append(lines, line)
		}
	}
	if !slices.ContainsFunc(lines, func(line string) bool { return names(line, name) }) {
		lines = append(lines, "127.0.1.1 "+name+" "+mark)
	}
	return strings.Join(lines, "\n") + "\n"
}

// WithNode returns another text for /etc/hosts, with the lines of now that Hosts made.
func WithNode(text, now string) string {
	ours := func(line string) bool { return strings.HasSuffix(strings.TrimRight(line, "\r\n"), mark) }
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !ours(line) {
			out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	for line := range strings.Lines(now) {
		if ours(line) {
			out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	return out.String()
}

// names reports whether a line of /etc/hosts gives name an address.
func names(line, name string) bool {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	return len(fields) > 1 && slices.ContainsFunc(fields[1:], func(f string) bool { return strings.EqualFold(f, name) })
}
