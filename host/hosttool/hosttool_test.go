package hosttool

import (
	"context"
	"strings"
	"testing"
)

func TestFindNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find("mkfs.erofs")
	const want = "mkfs.erofs is not installed; as root run: apt-get install erofs-utils"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestRun(t *testing.T) {
	out, err := Command{Name: "sh", Args: []string{"-c", `cat; echo "$X $LC_ALL"`}, Env: []string{"X=y"}, Stdin: "in "}.Run(context.Background())
	if err != nil || out != "in y C\n" {
		t.Errorf("Run() = %q, %v", out, err)
	}
}

func TestRunErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Run(ctx, "sh", "-c", "echo first >&2; echo sh: last >&2; exit 3")
	if err == nil || err.Error() != "sh: last (exit status 3)" {
		t.Errorf("error = %v", err)
	}
	cancel()
	if _, err := Run(ctx, "sh", "-c", "sleep 10"); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("cancelled: error = %v", err)
	}
}
