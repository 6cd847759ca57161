// Package credentialprovider lets a pod be an image credential provider: it runs the
// provider's own program, unmodified, for each request of the kubelet that the node hands
// to the pod's socket (internal/credprovider). It leaves out what requests say.
package credentialprovider

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kios/internal/credprovider"
	"kios/pods/service"
)

// Command is the subcommand of /system that such a pod runs.
var Command = service.Command{
	Name: "credential-provider", Purpose: "be an image credential provider of the node, by a program that is one",
	Args: "-- PROGRAM [ARGUMENT]...", Flags: declareFlags,
}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	socket := flags.String("socket", "", "serve the socket `FILE`, which is NAME.sock in "+credprovider.Dir+" for the provider NAME")
	return func(ctx context.Context, log *log.Logger) error {
		if *socket == "" || flags.NArg() == 0 {
			return errors.New("name the socket with -socket, and the provider's program after --")
		}
		log.Printf("image credentials: %s serves %s", filepath.Base(flags.Arg(0)), *socket)
		return credprovider.ServeRequests(ctx, *socket, program{flags.Args(), log}.answer)
	}
}

// program is a provider's own program, with the arguments that come before those of the
// kubelet's configuration.
type program struct {
	argv []string
	log  *log.Logger
}

// answer runs the program for one request. It ends with the context, and so do programs
// that it may have left behind.
func (p program) answer(ctx context.Context, r credprovider.Request) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.argv[0], append(p.argv[1:len(p.argv):len(p.argv)], r.Args...)...)
	cmd.Env = append(os.Environ(), r.Env...)
	cmd.Stdin = bytes.NewReader(r.Stdin)
	cmd.WaitDelay = time.Second // for output that somebody else holds open
	stdout, stderr := bounded{limit: credprovider.MaxAnswer + 1}, bounded{limit: credprovider.MaxError}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.text, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it was ended, since it took too long: %w", err)
	}
	if text := strings.TrimSpace(string(stderr.text)); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	p.log.Printf("%s: %v", p.argv[0], err)
	return nil, err
}

// bounded keeps the first bytes of a program's output, and takes all.
type bounded struct {
	limit int
	text  []byte
}

func (b *bounded) Write(text []byte) (int, error) {
	b.text = append(b.text, text[:min(len(text), b.limit-len(b.text))]...)
	return len(text), nil
}
