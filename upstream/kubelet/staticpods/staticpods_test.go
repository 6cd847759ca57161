package staticpods

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const spec = "spec: {hostNetwork: true, containers: [{name: c, image: img.example/bb:1}]}\n"

func pod(meta string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {" + meta + "}\n" + spec
}

// Each file that runs no pod has one line with its name and the reason, and no other has.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for name, f := range map[string]struct{ text, want string }{
		"a-good.yaml":     {pod("name: a"), ""},
		"b-json":          {`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}`, ""},
		"c-empty.yaml":    {"\n", ""},
		".hidden":         {"{", ""},
		"d-yaml":          {"{ this: is: not", "runs no pod: "},
		"e-deploy.yaml":   {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: e}\n", "runs no pod: "},
		"f-noname.yaml":   {pod(""), "metadata.name is missing"},
		"g-upper.yaml":    {pod("name: Upper"), "metadata.name: Invalid value"},
		"h-again.yaml":    {pod("name: a, namespace: default"), "takes its place"},
		"i-uid.yaml":      {pod("name: i, uid: '7'"), ""},
		"j-uid.yaml":      {pod("name: j, uid: '7'"), "has the UID of the one in " + dir + "/i-uid.yaml"},
		"k-nul.yaml":      {"\x00\x01", "runs no pod: "},
		"l-utf16":         {"\xff\xfea\x00:\x00 \x001\x00", "runs no pod: "},
		"m-bom.yaml":      {"\ufeff" + pod("name: m"), ""},
		"n-crlf.yaml":     {strings.ReplaceAll(pod("name: crlf"), "\n", "\r\n"), ""},
		"o-line\nin.yaml": {"{", "runs no pod: "},
		"q-two.yaml":      {pod("name: q") + "---\n" + pod("name: r"), "only the first YAML document"},
		"s-account.yaml":  {strings.Replace(pod("name: s"), "{hostNetwork", "{serviceAccountName: x, hostNetwork", 1), "static pods may not reference serviceaccounts"},
		"p-nospec.yaml":   {"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", "spec.containers: Required value"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		want[strings.ReplaceAll(name, "\n", " ")] = f.want
	}
	for name, make := range map[string]func(string) error{
		"v-fifo":  func(path string) error { return unix.Mkfifo(path, 0o600) },
		"w-dir":   func(path string) error { return os.Mkdir(path, 0o700) },
		"x-large": func(path string) error { return errorOf(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxFile+1)) },
		"y-loop":  func(path string) error { return os.Symlink("y-loop", path) },
		"z-zero":  func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		want[name] = "runs no pod: "
	}
	got := map[string]string{}
	Check(dir, func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		name, reason, _ := strings.Cut(strings.TrimPrefix(text, dir+"/"), ": ")
		if got[name] != "" || strings.Contains(text, "\n") {
			t.Errorf("a second line, or two in one: %q", text)
		}
		got[name] = reason
	})
	for name, reason := range want {
		if (reason == "") != (got[name] == "") || !strings.Contains(got[name], reason) {
			t.Errorf("%s: %q, want %q", name, got[name], reason)
		}
	}
	if len(got) > maxSaid {
		t.Errorf("%d lines", len(got))
	}
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
