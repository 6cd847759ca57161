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

	"k8s.io/kubernetes/pkg/credentialprovider/plugin"

	"kios/upstream/kubelet/args"
	"kios/upstream/kubelet/watch"
)

// checkCommand is the first argument of a process that is to check the
// configuration of the credential providers: the kubelet's code that does it
// registers them as well, which a process can do but once.
const checkCommand = "kios-check-credential-providers"

// Providers returns the command line without the credential providers when the
// file that configures them is missing or bad. A bad one is named on log: a
// kubelet that is given it does not start.
func Providers(list []string, log io.Writer) []string {
	file, dir := providersOf(list)
	if file == "" {
		return list
	}
	err := checkFile(file, dir)
	if err == nil {
		return list
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "kios: ignoring %s: %s: images are pulled without credentials\n", file, oneLine(err))
	}
	return args.Without(args.Without(list, "image-credential-provider-config"), "image-credential-provider-bin-dir")
}

func providersOf(list []string) (file, dir string) {
	return args.Value(list, "image-credential-provider-config"), args.Value(list, "image-credential-provider-bin-dir")
}

func checkFile(file, dir string) error {
	if _, err := readFile(file); err != nil {
		return err
	}
	return checkInChild(file, dir)
}

// AwaitProviders returns true when the providers of a command line, with which the
// kubelet could not be started, have become good: their programs come by a pod, after
// the kubelet has started, and the kubelet looks for them only then. It is for a
// goroutine.
func AwaitProviders(ctx context.Context, list []string, say func(format string, args ...any)) bool {
	file, dir := providersOf(list)
	files := func() []string { return []string{file, filepath.Join(dir, "program")} }
	return file != "" && watch.Until(ctx, files, func() bool { return hasPrograms(dir) && checkFile(file, dir) == nil }, say)
}

// hasPrograms saves the check, which is a process, while there is nothing to find.
func hasPrograms(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
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
