package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

func TestExitCode(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"well", t.Context(), nil, 0},
		{"badly", t.Context(), errors.New("x"), 1},
		{"interrupted", cancelled, fmt.Errorf("build: %w", context.Canceled), interrupted},
		{"interrupted, and something to say", cancelled, errors.New("machines were killed"), interrupted},
		{"interrupted, and well nevertheless", cancelled, nil, 0},
	} {
		if got := exitCode(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%s: exitCode = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Only a person is asked whether a cluster is to be removed.
func TestPurgeIsConfirmed(t *testing.T) {
	in, out, err := os.Pipe()
	lab.Must(t, err)
	defer in.Close()
	out.WriteString("y\n")
	out.Close()
	var said bytes.Buffer
	if err := confirm(in, &said, "a"); err == nil || !strings.Contains(err.Error(), "--yes") || said.Len() > 0 {
		t.Errorf("confirm without a terminal = %v, and asks %q", err, said.String())
	}
}

// Our own policy of a run that was killed goes away, and that of somebody else stays.
func TestForbidServices(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	forbidServices(policy) // and is killed
	if text := lab.ReadFile(t, policy); !strings.Contains(text, "exit 101") {
		t.Errorf("the policy is %q", text)
	}
	forbidServices(policy)()
	if _, err := os.Stat(policy); err == nil {
		t.Error("our policy is still there")
	}
	lab.WriteFile(t, policy, "#!/bin/sh\nexit 0\n")
	forbidServices(policy)()
	if text := lab.ReadFile(t, policy); !strings.HasSuffix(text, "exit 0\n") {
		t.Errorf("somebody else's policy became %q", text)
	}
}
