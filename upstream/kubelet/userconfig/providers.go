package userconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"k8s.io/kubernetes/pkg/credentialprovider/plugin"

	"kios/upstream/kubelet/args"
)

// checkCommand is the first argument of a process that is to check the
// configuration of the credential providers: the kubelet's code that does it
// registers them as well, which a process can do but once.
const checkCommand = "kios-check-credential-providers"

// Providers returns the command line without the credential providers when the
// file that configures them is missing or bad. A bad one is named on log: a
// kubelet that is given it does not start.
func Providers(list []string, log io.Writer) []string {
	file := args.Value(list, "image-credential-provider-config")
	if file == "" {
		return list
	}
	_, err := os.Stat(file)
	if err == nil {
		err = checkInChild(file, args.Value(list, "image-credential-provider-bin-dir"))
	}
	if err == nil {
		return list
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "kios: ignoring %s: %s: images are pulled without credentials\n", file, oneLine(err))
	}
	return args.Without(args.Without(list, "image-credential-provider-config"), "image-credential-provider-bin-dir")
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
