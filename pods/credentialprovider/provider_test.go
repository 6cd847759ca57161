package credentialprovider

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/internal/credprovider"
	"kios/test/lab"
)

// script makes a provider's program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	lab.Must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path
}

// serve runs the subcommand, and returns the socket.
func serve(t *testing.T, argv ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "plugin.sock")
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	run := declareFlags(flags)
	lab.Must(t, flags.Parse(append([]string{"-socket", socket, "--"}, argv...)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- run(ctx, log.New(io.Discard, "", 0)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return socket
}

func TestProgramAnswers(t *testing.T) {
	socket := serve(t, script(t, `echo "$1 $2 $PROFILE"; cat`), "first")
	r := credprovider.Request{Args: []string{"second"}, Env: []string{"PROFILE=p"}, Stdin: []byte("request")}
	for range 2 {
		if out, err := credprovider.Ask(t.Context(), socket, r); err != nil || string(out) != "first second p\nrequest" {
			t.Errorf("answer %q, %v", out, err)
		}
	}
}

func TestProgramFails(t *testing.T) {
	for _, tt := range []struct{ name, program, want string }{
		{"with a reason", script(t, "echo no credentials >&2; exit 3"), "exit status 3: no credentials"},
		{"without one", script(t, "exit 3"), "exit status 3"},
		{"with a long one", script(t, "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3"), "exit status 3: xxx"},
		{"too large an answer", script(t, "head -c 2000000 /dev/zero"), "the answer has more than 1048576 bytes"},
		{"no program", "/no/such/program", "no such file"},
	} {
		_, err := credprovider.Ask(t.Context(), serve(t, tt.program), credprovider.Request{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > credprovider.MaxError {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A program that hangs ends when nobody waits for it any more, also if another one holds
// its output.
func TestProgramHangs(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	lab.Must(t, os.WriteFile(mark, nil, 0o600))
	p := program{[]string{script(t, "sleep 600 & echo > "+mark+"; sleep 600")}, log.New(io.Discard, "", 0)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for text, _ := os.ReadFile(mark); len(text) == 0; text, _ = os.ReadFile(mark) {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := p.answer(ctx, credprovider.Request{}); err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("error = %v", err)
	}
}

func TestWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{{}, {"-socket", "/x"}, {"--", "program"}} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		run := declareFlags(flags)
		lab.Must(t, flags.Parse(args))
		if err := run(t.Context(), log.New(io.Discard, "", 0)); err == nil || !strings.Contains(err.Error(), "-socket") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// What a program writes is never held beyond its bound.
func TestBounded(t *testing.T) {
	b := bounded{limit: 3}
	if n, err := io.Copy(&b, bytes.NewReader(make([]byte, 1<<20))); n != 1<<20 || err != nil || len(b.text) != 3 {
		t.Errorf("%d bytes taken, %d kept, %v", n, len(b.text), err)
	}
}
