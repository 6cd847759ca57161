// Package provider is what the kubelet executes as an image credential provider. Every
// provider of the node is init under another name, in a directory of our own: the kubelet
// wants a program when it starts, and a pod can bring one at any time later. If the user
// or a pod has put a program of that name where the kubelet has its plug-ins, that is
// executed. Otherwise a pod answers, at a socket (internal/credprovider).
package provider

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kios/internal/credprovider"
	"kios/internal/kubeletargs"
)

// Is reports whether a program is called as a provider.
func Is(program string) bool { return filepath.Dir(program) == kubeletargs.ProviderLinks }

// Call is how the kubelet calls a provider.
type Call struct {
	Program        string // argv[0]
	Args, Env      []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Where the programs and the sockets of pods are, if not at their usual places.
	Programs string
	Socket   func(name string) string
}

// Run answers the call, and returns the exit code.
func (c Call) Run() int {
	if err := c.run(); err != nil {
		fmt.Fprintf(c.Stderr, "%s: %v\n", filepath.Base(c.Program), err)
		return 1
	}
	return 0
}

func (c Call) run() error {
	name := filepath.Base(c.Program)
	program := filepath.Join(c.Programs, name)
	if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() {
		return fmt.Errorf("execute %s: %w", program, unix.Exec(program, append([]string{program}, c.Args...), c.Env))
	}
	// A byte too much is enough to find out that there are too many.
	stdin, err := io.ReadAll(io.LimitReader(c.Stdin, credprovider.MaxRequest+1))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	out, err := credprovider.Ask(context.Background(), c.Socket(name), credprovider.Request{Args: c.Args, Env: foreign(c.Env), Stdin: stdin})
	if err != nil {
		return err
	}
	_, err = c.Stdout.Write(out)
	return err
}

// own are variables of the node's programs, and beginnings of such. A provider in another
// image has its own.
var (
	own       = []string{"PATH", "HOME"}
	ownPrefix = []string{"NOTIFY_", "WATCHDOG_", "LISTEN_", "KIOS_", "GO"}
)

// foreign returns the variables that are not the node's own: those that the configuration
// of the provider has, and those that the user has given the kubelet.
func foreign(env []string) (left []string) {
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		isOwn := slices.ContainsFunc(ownPrefix, func(p string) bool { return strings.HasPrefix(name, p) })
		if !isOwn && !slices.Contains(own, name) {
			left = append(left, variable)
		}
	}
	return left
}
