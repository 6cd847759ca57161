package kernel

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/test/lab"
)

func TestParseFragment(t *testing.T) {
	text := "# A comment.\n\nCONFIG_SMP=y\nCONFIG_NR_CPUS=256\r\nCONFIG_X=m \n" +
		"CONFIG_LOCALVERSION=\"-kios\"\n# CONFIG_SWAP is not set\nCONFIG_KEY=\"\"\n"
	want := []option{
		{"CONFIG_SMP", "y", "a:3"},
		{"CONFIG_NR_CPUS", "256", "a:4"},
		{"CONFIG_X", "m", "a:5"},
		{"CONFIG_LOCALVERSION", `"-kios"`, "a:6"},
		{"CONFIG_SWAP", "n", "a:7"},
		{"CONFIG_KEY", `""`, "a:8"},
	}
	got, err := parseFragment("a", text)
	lab.Must(t, err)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(option{})); d != "" {
		t.Errorf("parseFragment() (-want +got):\n%s", d)
	}
}

func TestParseFragmentRefuses(t *testing.T) {
	for _, line := range []string{
		"CONFIG_SMP", "CONFIG_SMP = y", "CONFIG_SMP=yes", "SMP=y", "CONFIG_A=y # why",
		"# CONFIG_SWAP is not  set", "# CONFIG_SWAP=y", `CONFIG_A="x`,
	} {
		if _, err := parseFragment("a", "\n"+line+"\n"); !errorContains(err, "a:2: ") {
			t.Errorf("parseFragment(%q) error = %v, want one at a:2", line, err)
		}
	}
}

func TestReadFragments(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
		err   string
	}{
		{
			name: "merged and sorted",
			files: map[string]string{
				"b.config": "CONFIG_A=y\n", "a.config": "CONFIG_C=2\n# CONFIG_D is not set\n", "README": "x",
				"arm64/a.config": "CONFIG_B=m\n", "amd64/a.config": "CONFIG_X=y\n# CONFIG_A is not set\n",
			},
			want: "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=2\n# CONFIG_D is not set\n",
		},
		{
			name:  "the same twice",
			files: map[string]string{"a.config": "CONFIG_A=y\n", "arm64/b.config": "CONFIG_A=y\n"},
			want:  "CONFIG_A=y\n",
		},
		{
			name:  "contradiction",
			files: map[string]string{"a.config": "CONFIG_A=y\n", "b.config": "\n# CONFIG_A is not set\n", "arm64/b.config": "CONFIG_B=y\n"},
			err:   "b.config:2: CONFIG_A=n contradicts CONFIG_A=y of",
		},
		{
			name:  "contradiction of an architecture",
			files: map[string]string{"a.config": "CONFIG_A=y\n", "arm64/b.config": "\n# CONFIG_A is not set\n"},
			err:   "arm64/b.config:2: CONFIG_A=n contradicts CONFIG_A=y of",
		},
		{name: "none", err: "no kernel configuration in"},
		{
			name:  "none for the architecture",
			files: map[string]string{"a.config": "CONFIG_A=y\n", "amd64/a.config": "CONFIG_B=y\n"},
			err:   "/arm64 (want files *.config)",
		},
	}
	arm64, err := arch.Find("arm64")
	lab.Must(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				lab.WriteFile(t, filepath.Join(dir, name), text)
			}
			got, err := readFragments(dir, arm64)
			if !errorContains(err, tt.err) {
				t.Fatalf("readFragments() error = %v, want %q", err, tt.err)
			}
			if d := cmp.Diff(tt.want, render(got)); d != "" {
				t.Errorf("readFragments() (-want +got):\n%s", d)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	config := "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_N=250\nCONFIG_S=\"a b\"\n"
	good := []option{{"CONFIG_A", "y", "f:1"}, {"CONFIG_C", "n", "f:2"}, {"CONFIG_GONE", "n", "f:3"}, {"CONFIG_N", "250", "f:4"}, {"CONFIG_S", `"a b"`, "f:5"}}
	if err := verify(good, config); err != nil {
		t.Errorf("verify() = %v, want nil", err)
	}
	bad := append(good, option{"CONFIG_B", "y", "g:1"}, option{"CONFIG_GONE", "y", "g:2"}, option{"CONFIG_A", "n", "g:3"})
	err := verify(bad, config)
	for _, want := range []string{
		"3 kernel options", "g:1: CONFIG_B=y became m", "g:2: CONFIG_GONE=y became n", "g:3: CONFIG_A=n became y",
	} {
		if !errorContains(err, want) {
			t.Errorf("verify() = %v, want it to contain %q", err, want)
		}
	}
}

// A new version of the kernel may bring a workaround that no fragment names.
func TestVerifyErrata(t *testing.T) {
	const config = "CONFIG_ARM64_ERRATUM_1=y\n# CONFIG_ARM64_ERRATUM_2 is not set\n" +
		"# CONFIG_NVIDIA_CNP_ERRATUM is not set\n# CONFIG_SOMETHING_ELSE is not set\n"
	named := []option{{"CONFIG_ARM64_ERRATUM_2", "n", "f:1"}, {"CONFIG_NVIDIA_CNP_ERRATUM", "n", "f:2"}}
	if err := verify(named, config); err != nil {
		t.Errorf("verify() = %v, want nil", err)
	}
	err := verify(named[:1], config)
	if !errorContains(err, "workarounds for defects of processors are off") || !errorContains(err, "\n  CONFIG_NVIDIA_CNP_ERRATUM") {
		t.Errorf("verify() = %v, want an error that names CONFIG_NVIDIA_CNP_ERRATUM", err)
	}
	for _, not := range []string{"ERRATUM_1", "ERRATUM_2", "SOMETHING"} {
		if errorContains(err, not) {
			t.Errorf("verify() = %v, want no %s in it", err, not)
		}
	}
}

// The repository's own fragments must at least be readable, for each architecture, and what
// has its name from one must not be asked of another.
func TestOwnFragments(t *testing.T) {
	foreign := map[string]string{"amd64": "CONFIG_ARM", "arm64": "CONFIG_X86_"}
	for _, a := range arch.All {
		opts, err := readFragments("../../kernel", a)
		lab.Must(t, err)
		if len(opts) < 100 {
			t.Errorf("readFragments(kernel, %s) = %d options, want at least 100", a.Name, len(opts))
		}
		for _, o := range opts {
			if strings.HasPrefix(o.name, foreign[a.Name]) {
				t.Errorf("%s: %s belongs into the folder of the other architecture", o.where, o.name)
			}
		}
	}
}

// What one architecture's kernel has built in is on the command line of the others.
func TestWordsOfTheCommandLine(t *testing.T) {
	lines := map[string][]string{}
	for _, a := range arch.All {
		opts, err := readFragments("../../kernel", a)
		lab.Must(t, err)
		line := a.Kernel.Cmdline
		for _, o := range opts {
			if o.name == "CONFIG_CMDLINE" {
				line += strings.Trim(o.value, `"`)
			}
		}
		lines[line] = append(lines[line], a.Name)
	}
	if len(lines) != 1 || lines[""] != nil {
		t.Errorf("words of the command line = %q, want the same on each architecture", lines)
	}
}

func errorContains(err error, want string) bool {
	if want == "" || err == nil {
		return want == "" && err == nil
	}
	return strings.Contains(err.Error(), want)
}
