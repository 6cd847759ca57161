// Package formattest is what the tests of the formats of user data have in common.
package formattest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/pods/metadata/want"
	"kios/test/lab"
)

// Gzip packs data.
func Gzip(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(data) // into memory: it does not fail
	_ = w.Close()
	return out.Bytes()
}

// Packed is gzip in base64.
func Packed(data []byte) string { return base64.StdEncoding.EncodeToString(Gzip(data)) }

// Join stands for what reads a JoinConfiguration: it keeps that as the kubeconfig.
func Join(text []byte, _ *want.Machine, n *want.Node) error {
	n.Join = &want.Join{Kubeconfig: text}
	return nil
}

// Describe is what tests look at of a file: "PATH CONTENT MODE APPEND".
func Describe(f want.File) string {
	return fmt.Sprintf("%s %q %o %v", f.Path, f.Content, f.Mode, f.Append)
}

// Files reads items that each ask for one file, and compares what becomes of them: a text of
// Describe; "error: " and what the error says; or "skip: " and what is said of the file. What
// an item calls secret is never said.
func Files(t *testing.T, items map[string]string, read func(item string) (*want.Node, error)) {
	t.Helper()
	for item, want := range items {
		n, err := read(item)
		if got := outcome(n, err); !strings.HasPrefix(got, strings.SplitAfter(want, ": ")[0]) || !strings.Contains(got, text(want)) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s, want %s", item, got, want)
		}
	}
}

// text is what is behind the kind of an outcome.
func text(want string) string {
	for _, kind := range []string{"error: ", "skip: "} {
		if rest, found := strings.CutPrefix(want, kind); found {
			return rest
		}
	}
	return want
}

func outcome(n *want.Node, err error) string {
	var files []string
	for _, f := range n.Files {
		files = append(files, Describe(f))
	}
	all := strings.Join(files, "\n")
	switch {
	case err != nil && all != "":
		return fmt.Sprintf("%s, and the error %v", all, err)
	case err != nil:
		return "error: " + err.Error()
	case len(n.Skipped) > 0:
		return "skip: " + strings.Join(n.Skipped, "\n")
	}
	return all
}

// Seed gives a fuzz target the files that a pattern matches.
func Seed(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(err, files)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		lab.Must(f, err)
		f.Add(text)
	}
}

// Bounded reads a text of whatever, and holds how much memory that takes, and where files may
// be.
func Bounded(t *testing.T, text []byte, most uint64, read func([]byte) (*want.Node, error)) {
	t.Helper()
	var n *want.Node
	var err error
	if used := lab.Allocated(func() { n, err = read(text) }); used > most {
		t.Errorf("%d bytes of text allocate %d: %v", len(text), used, err)
	}
	for _, f := range n.Files {
		if !strings.HasPrefix(f.Path, "/etc/") && !strings.HasPrefix(f.Path, "/run/") || strings.Contains(f.Path+"/", "/../") || strings.HasPrefix(f.Path, "/run/kios/") {
			t.Errorf("%q is written", f.Path)
		}
	}
}
