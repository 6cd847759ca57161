package provider

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/internal/credprovider"
	"kios/internal/kubeletargs"
	"kios/test/lab"
)

// The test binary is also the provider, under the name plugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "plugin" {
		c := Call{Program: os.Args[0], Args: os.Args[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			Programs: os.Getenv("PROGRAMS"), Socket: func(name string) string { return filepath.Join(os.Getenv("SOCKETS"), name+".sock") }}
		os.Exit(c.Run())
	}
	os.Exit(m.Run())
}

// called executes the provider as the kubelet does: by a link, with a request on standard
// input.
func called(t *testing.T, programs, sockets string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	lab.Must(t, err)
	link := filepath.Join(t.TempDir(), "plugin")
	lab.Must(t, os.Symlink(self, link))
	cmd := exec.Command(link, args...)
	cmd.Env = []string{"PROGRAMS=" + programs, "SOCKETS=" + sockets, "PATH=/bin", "NOTIFY_SOCKET=/n", "AWS_PROFILE=a b", "HTTPS_PROXY=p"}
	cmd.Stdin = strings.NewReader(`{"image":"x"}`)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestPodAnswers(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go credprovider.ServeRequests(ctx, filepath.Join(dir, "plugin.sock"), func(_ context.Context, r credprovider.Request) ([]byte, error) {
		if r.Args[0] == "fail" {
			return nil, fmt.Errorf("no credentials")
		}
		return fmt.Appendf(nil, "%q %q %s", r.Args, r.Env[2:], r.Stdin), nil
	})
	stdout, stderr, code := called(t, t.TempDir(), dir, "get", "--x")
	if want := `["get" "--x"] ["AWS_PROFILE=a b" "HTTPS_PROXY=p"] {"image":"x"}`; code != 0 || stdout != want || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
	stdout, stderr, code = called(t, t.TempDir(), dir, "fail")
	if code != 1 || stdout != "" || stderr != "plugin: no credentials\n" {
		t.Errorf("a failure: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A program that the user, or a pod, has put there takes precedence.
func TestProgramOfTheUser(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "plugin")
	lab.Must(t, os.WriteFile(program, []byte("#!/bin/sh\necho $1 $AWS_PROFILE; cat\n"), 0o755))
	stdout, stderr, code := called(t, dir, t.TempDir(), "get")
	if code != 0 || stdout != "get a b\n"+`{"image":"x"}` || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	lab.Must(t, os.Chmod(program, 0o644))
	if _, stderr, code := called(t, dir, t.TempDir()); code != 1 || !strings.Contains(stderr, "permission denied") {
		t.Errorf("a program without the mode: code %d, stderr %q", code, stderr)
	}
}

// The directory decides, so a provider may have any name, that of a helper, too.
func TestIs(t *testing.T) {
	for program, want := range map[string]bool{
		kubeletargs.ProviderLinks + "/mount": true, "/bin/mount": false, "mount": false, "": false, kubeletargs.ProviderLinks: false,
	} {
		if Is(program) != want {
			t.Errorf("Is(%q) = %v", program, !want)
		}
	}
}
