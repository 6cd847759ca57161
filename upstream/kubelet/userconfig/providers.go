package userconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	kubeletv1 "k8s.io/kubelet/config/v1"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
	"sigs.k8s.io/yaml"

	"kios/upstream/kubelet/args"
	"kios/upstream/kubelet/watch"
)

// checkCommand is the first argument of a process that is to check the
// configuration of the credential providers: the kubelet's code that does it
// registers them as well, which a process can do but once.
const checkCommand = "kios-check-credential-providers"

// provider is the program that every credential provider is: it finds what the user has
// put on the node under that name, or asks a pod.
const provider = "/bin/init"

// Providers returns the command line without the credential providers when the file that
// configures them is missing or bad. A bad one is named on log: a kubelet that is given it
// does not start. It also returns the text of the file that is used, "" for none.
func Providers(list []string, log io.Writer) (left []string, used string) {
	file, dir := providersOf(list)
	if file == "" {
		return list, ""
	}
	used, err := checkFile(file, dir)
	if err == nil {
		return list, used
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "kios: ignoring %s: %s: images are pulled without credentials\n", file, oneLine(err))
	}
	return args.Without(args.Without(list, "image-credential-provider-config"), "image-credential-provider-bin-dir"), ""
}

func providersOf(list []string) (file, dir string) {
	return args.Value(list, "image-credential-provider-config"), args.Value(list, "image-credential-provider-bin-dir")
}

func checkFile(file, dir string) (text string, err error) {
	raw, err := readFile(file)
	if err != nil {
		return "", err
	}
	if err := link(raw, dir); err != nil {
		return "", err
	}
	return string(raw), checkInChild(file, dir)
}

// link makes a link to init for each provider that has nothing in the directory.
func link(raw []byte, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range namesOf(raw) {
		if err := os.Symlink(provider, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// namesOf returns the names of providers that can be those of files. The others, and a
// file without names, are for the kubelet's own check.
func namesOf(raw []byte) (names []string) {
	var c kubeletv1.CredentialProviderConfig
	if yaml.Unmarshal(raw, &c) != nil {
		return nil
	}
	for _, p := range c.Providers {
		if p.Name != "" && p.Name == filepath.Base(p.Name) && filepath.IsLocal(p.Name) && p.Name != "." {
			names = append(names, p.Name)
		}
	}
	return names
}

// AwaitProviders returns true when the file of a command line's providers has become
// another good one than what is used: the kubelet reads it only when it starts. A bad one
// is named, once. It is for a goroutine.
func AwaitProviders(ctx context.Context, list []string, used string, say func(format string, args ...any)) bool {
	file, dir := providersOf(list)
	bad := ""
	better := func() bool {
		raw, err := readFile(file)
		if err != nil || string(raw) == used || string(raw) == bad {
			return false
		}
		if _, err = checkFile(file, dir); err != nil {
			bad = string(raw)
			say("%s is not used: %s: the credential providers stay as they are", file, oneLine(err))
		}
		return err == nil
	}
	return file != "" && watch.Until(ctx, func() []string { return []string{file} }, better, say)
}

func checkInChild(file, dir string) error {
	out, err := exec.Command("/proc/self/exe", checkCommand, file, dir).CombinedOutput()
	if err != nil && len(out) > 0 {
		return errors.New(lastLine(string(out)))
	}
	return err
}

// lastLine is the message; what the kubelet's code logs comes before it.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// CheckProviders does what a process is for that Providers has started, and
// reports false in every other one.
func CheckProviders(list []string) (code int, mine bool) {
	if len(list) != 4 || list[1] != checkCommand {
		return 0, false
	}
	if err := plugin.RegisterCredentialProviderPlugins(list[2], list[3], nil, nil); err != nil {
		fmt.Fprintln(os.Stderr, oneLine(err))
		return 1, true
	}
	return 0, true
}
