// Package joincmd finds kubeadm join among the commands of user data. A node has no shell
// and no kubeadm: it reads what the command would read, and does the same. All other
// commands are named and not done.
package joincmd

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/hostfile"
	"kios/pods/metadata/want"
)

const (
	maxText   = 1 << 20
	maxNested = 4  // of sh -c in sh -c
	maxNamed  = 32 // lines about commands of one part
	maxOnLine = 8
)

// Join reads a JoinConfiguration of kubeadm.
type Join func(text []byte, m *want.Machine, n *want.Node) error

// Reader reads the commands of one part of user data.
type Reader struct {
	Join    Join
	Files   *hostfile.List
	Machine *want.Machine
	Node    *want.Node

	joined   bool            // kubeadm join was among the commands
	config   string          // the file that it was given
	scripts  map[string]bool // files that have been read
	envsubst bool            // the file that --config names is filled in first
	skipped  map[string]bool // programs of one text that are not run
	names    []string        // the first of them
	named    int             // lines about them
}

// Script reads a text for a shell.
func (r *Reader) Script(text string) error {
	defer r.name()
	return r.script(text, 0)
}

// Command reads one command that is there as its words.
func (r *Reader) Command(words []string) error {
	defer r.name()
	return r.command(command{words: words}, 0)
}

// Done says how many texts with commands were not named.
func (r *Reader) Done() {
	if r.named > maxNamed {
		r.Node.Skip("%d more with commands: a node runs none", r.named-maxNamed)
	}
}

func (r *Reader) script(text string, nested int) error {
	if len(text) > maxText || nested > maxNested {
		return errors.New("a script is too long, or in too many others")
	}
	var mistakes bounded.Mistakes
	for _, c := range split(text) {
		mistakes.Add(r.command(c, nested))
	}
	return mistakes.Err()
}

func (r *Reader) command(c command, nested int) error {
	words := unwrap(c.words)
	switch {
	case len(words) > 1 && isShell(words[0]):
		return r.shell(words, nested)
	case len(words) > 1 && (words[0] == "." || words[0] == "source"):
		return r.file(words[1], words[0], nested)
	case isKubeadm(words, "init"):
		return errors.New("kubeadm init: a node makes no control plane; see docs/control-plane.md")
	case isJoin(words):
		return r.join(words[2:])
	case r.joined && slices.Equal(words, []string{"echo", "success"}) && isSentinel(c.output):
		r.Node.Joined = c.output
	case first(words) == "envsubst" && strings.HasPrefix(c.output, kubeadmFile):
		r.envsubst = true
	case first(words) == "/etc/eks/bootstrap.sh":
		r.Node.Skip("commands: /etc/eks/bootstrap.sh is for Amazon Linux 2: write a NodeConfig, see docs/cloud/eks.md")
	case !r.isNothing(words) && len(words) > 0:
		return r.file(words[0], words[0], nested)
	}
	return nil
}

// shell reads what a shell is told to run: the text behind -c, or a script.
func (r *Reader) shell(words []string, nested int) error {
	for i := 1; i < len(words); i++ {
		switch word := words[i]; {
		case isFlag(word, "c") && i+1 < len(words):
			return r.script(words[i+1], nested+1)
		case isFlag(word, "o"): // as -euo pipefail
			i++
		case !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "+"):
			return r.file(word, words[0], nested)
		}
	}
	r.skip(words[0])
	return nil
}

// file reads a script that the user data bring along, once. Of anything else, it notes that
// the program is not run.
func (r *Reader) file(name, program string, nested int) error {
	if r.scripts[name] {
		return nil
	}
	var text []byte
	found := false
	if strings.HasPrefix(name, "/") {
		text, found = r.Files.Script(name)
	}
	if !found {
		r.skip(program)
		return nil
	}
	if r.scripts == nil {
		r.scripts = map[string]bool{}
	}
	r.scripts[name] = true
	return r.script(string(text), nested+1)
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// before are words that may be before a command, and do not change what it is.
var before = []string{"sudo", "-E", "exec", "env", "nice", "time", "nohup", "if", "then", "else", "elif", "do", "while", "until", "!", "{"}

// unwrap takes off what is before a command.
func unwrap(words []string) []string {
	for len(words) > 0 {
		name, _, assigned := strings.Cut(words[0], "=")
		switch {
		case slices.Contains(before, words[0]), assigned && isName(name):
			words = words[1:]
		case words[0] == "timeout" && len(words) > 2:
			words = words[2:]
		case path.Base(words[0]) == "cloud-init-per" && len(words) > 3: // FREQUENCY NAME
			words = words[3:]
		default:
			return words
		}
	}
	return nil
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func isShell(word string) bool {
	return slices.Contains([]string{"sh", "bash", "ash", "dash"}, path.Base(word))
}

// isFlag finds the flag of a shell, such as -c, and others with it, as -xec.
func isFlag(word, flag string) bool {
	return strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && strings.HasSuffix(word, flag)
}

// isKubeadm reports whether words begin with kubeadm, wherever it is, and next.
func isKubeadm(words []string, next string) bool {
	return len(words) > 1 && path.Base(words[0]) == "kubeadm" && words[1] == next
}

// isJoin finds kubeadm join, but for those that do one phase of it.
func isJoin(words []string) bool {
	return isKubeadm(words, "join") && (len(words) == 2 || words[2] != "phase")
}

// isSentinel finds the file by which Cluster API learns that a node is there. It is in /run,
// so that another boot is not taken for the same.
func isSentinel(name string) bool {
	return strings.HasPrefix(name, "/run/") && hostfile.Allowed(name) == nil
}

// kubeadmFile is the configuration that Cluster API writes with Ignition, and what its
// script makes of it.
const kubeadmFile = "/etc/kubeadm.yml"

// isNothing finds commands that are around kubeadm join in all user data of Cluster API,
// and of which nothing is left to do.
func (r *Reader) isNothing(words []string) bool {
	switch first(words) {
	case "set", "fi", "for", "done", "}", "true", ":", "then", "exit", "break", "sleep", "[", "[[", "test":
		return true
	case "mkdir": // directories are made with their files
		return len(words) == 3 && words[1] == "-p" && strings.HasPrefix(words[2], "/run/")
	case "mv": // the configuration: to its place, or away, so that it is used once
		return len(words) == 3 && strings.HasPrefix(words[1], kubeadmFile) && (words[2] == "/tmp/" || strings.HasPrefix(words[2], kubeadmFile))
	}
	return false
}

// skip notes that a command is not done. What its arguments are may be secret.
func (r *Reader) skip(program string) {
	program, _, _ = strings.Cut(program, "=")
	program = fmt.Sprintf("%.60q", program)
	if r.skipped[program] {
		return
	}
	if r.skipped == nil {
		r.skipped = map[string]bool{}
	}
	r.skipped[program] = true
	if len(r.names) < maxOnLine {
		r.names = append(r.names, program)
	}
}

// name names those that were not done, on one line.
func (r *Reader) name() {
	names, all := r.names, len(r.skipped)
	r.names, r.skipped = nil, nil
	if all == 0 {
		return
	}
	if r.named++; r.named > maxNamed {
		return
	}
	text := strings.Join(names, ", ")
	if more := all - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	r.Node.Skip("commands: %s: a node runs none", text)
}

// join does what kubeadm join is asked for.
func (r *Reader) join(args []string) error {
	f, err := parse(args)
	if err != nil {
		return fmt.Errorf("kubeadm join: %w", err)
	}
	if f.has("control-plane") {
		return errors.New("kubeadm join --control-plane: a node makes no control plane; see docs/control-plane.md")
	}
	if name := f.last("config"); r.joined && name != "" && name == r.config {
		return nil // it is to be tried again, as in a loop
	}
	r.joined, r.config = true, f.last("config")
	text, err := r.configuration(f)
	if err != nil {
		return fmt.Errorf("kubeadm join: %w", err)
	}
	r.Files.Give() // the configuration may name others of the files
	if err := r.Join(text, r.Machine, r.Node); err != nil {
		return fmt.Errorf("kubeadm join: %w", err)
	}
	return nil
}

// configuration is the file that --config names, which user data bring along, or what the
// other flags say.
func (r *Reader) configuration(f *flags) ([]byte, error) {
	name := f.last("config")
	if name == "" {
		return f.configuration()
	}
	text, found := r.Files.Take(name)
	if !found {
		return nil, fmt.Errorf("--config %.200s: that file is not in the user data: write it with write_files", name)
	}
	if r.envsubst {
		return envsubst(text, r.Machine)
	}
	return text, nil
}
