package userconfig

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ownProgram is a copy of the head of this program, which is linked statically.
func ownProgram(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 4096)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return head
}

// dynamic is a program with a loader.
func dynamic(loader string) []byte {
	p := make([]byte, elfHeader+elfEntry)
	copy(p, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(p[elfMachine:], ownMachine())
	binary.LittleEndian.PutUint64(p[32:], elfHeader)
	binary.LittleEndian.PutUint16(p[56:], 1)
	entry := p[elfHeader:]
	binary.LittleEndian.PutUint32(entry, elfInterpreter)
	binary.LittleEndian.PutUint64(entry[8:], elfHeader+elfEntry)
	binary.LittleEndian.PutUint64(entry[32:], uint64(len(loader)+1))
	return append(append(p, loader...), 0)
}

func TestFaultsOfPrograms(t *testing.T) {
	static := ownProgram(t)
	other := append([]byte(nil), static...)
	other[elfMachine]++
	tests := []struct {
		name    string
		content []byte
		mode    os.FileMode
		want    string
	}{
		{"program", static, 0o755, ""},
		{"without the right", static, 0o644, "its mode has no x"},
		{"script of a shell that is not there", []byte("#!/none/sh\necho\n"), 0o755, "it needs /none/sh: that is not on the node"},
		{"script of nothing", []byte("#!\n"), 0o755, "without an interpreter"},
		{"script of itself", nil, 0o755, "too many"},
		{"loader that is not there", dynamic("/lib64/none.so"), 0o755, "it needs /lib64/none.so: that is not on the node"},
		{"loader in a place that is not in the file", dynamic("/l")[:elfHeader+elfEntry], 0o755, "cut off"},
		{"other processor", other, 0o755, "another kind of processor"},
		{"text", []byte("echo\n"), 0o755, "no program of this machine"},
		{"nothing", []byte{}, 0o755, "no program of this machine"},
		{"head of a program", static[:8], 0o755, "no program of this machine"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "program")
		if tt.content == nil {
			tt.content = []byte("#!" + path + "\n")
		}
		if err := os.WriteFile(path, tt.content, tt.mode); err != nil {
			t.Fatal(err)
		}
		got := new(checker).fault(path)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || got != "" && !strings.HasPrefix(got, path+" cannot be executed: ") {
			t.Errorf("%s: fault = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFaultsOfWhatIsNoProgram(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: " cannot be executed: ", fifo: " cannot be executed: ", "/none/program": "/none/program is not on the node", "": " is not on the node",
		"kios-none": "kios-none is not on the node",
	} {
		if got := new(checker).fault(path); !strings.HasPrefix(got, path) || !strings.Contains(got, want) {
			t.Errorf("fault(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestProgramOnAFileSystemWithoutTheRight(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, ownProgram(t), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := new(checker).fault(path); !strings.Contains(got, "mounted noexec") {
		t.Errorf("fault = %q", got)
	}
}
