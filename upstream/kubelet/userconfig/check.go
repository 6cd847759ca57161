package userconfig

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"

	"kios/upstream/kubelet/defaults"
)

// nodeDefaults is a copy of rootfs/usr/share/kios/kubelet.yaml, which a host does not have.
//
//go:embed kubelet.yaml
var nodeDefaults []byte

// hostCommand is the first argument of a process that is to check files on a host.
const hostCommand = "kios-check-config"

// CheckOnHost does the work of "kubelet kios-check-config DIR [--memory BYTES] [--cpus N]",
// and reports false for every other command line. It prints what the node would say about
// the files in DIR, which is laid out as /etc is, a line each.
func CheckOnHost(list []string, stdout, stderr io.Writer) (code int, mine bool) {
	if len(list) < 2 || list[1] != hostCommand {
		return 0, false
	}
	// The kubelet's own code logs of what it looks at. Here, only the lines count.
	klog.SetLogger(logr.Discard())
	if err := checkOnHost(list[2:], stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", hostCommand, err)
		return 1, true
	}
	return 0, true
}

func checkOnHost(list []string, stdout, stderr io.Writer) error {
	if len(list) == 0 || strings.HasPrefix(list[0], "-") {
		return fmt.Errorf("want a directory: kubelet %s DIR [--memory BYTES] [--cpus N]", hostCommand)
	}
	etc := list[0]
	flags := flag.NewFlagSet(hostCommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	memory := flags.Uint64("memory", 0, "memory of the machine in `bytes`; without it, nothing is said that depends on the machine")
	cpus := flags.Int("cpus", 1, "number of its processors")
	if err := flags.Parse(list[1:]); err != nil {
		return err
	}
	if _, err := os.ReadDir(etc); err != nil {
		return err
	}
	log := &hostLog{etc: etc, to: stdout}
	if err := checkProvidersOnHost(etc, log); err != nil {
		return err
	}
	return checkKubeletOnHost(etc, *memory, *cpus, log)
}

// checkKubeletOnHost gives Check what a node gives it.
func checkKubeletOnHost(etc string, memory uint64, cpus int, log io.Writer) error {
	dir, err := os.MkdirTemp("", hostCommand)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config, dropins := filepath.Join(dir, "kubelet.yaml"), filepath.Join(dir, "kubelet.d")
	if err := writeFile(config, nodeDefaults); err != nil {
		return err
	}
	if memory != 0 {
		if err := defaults.Write(dropins, defaults.Machine{Memory: memory, CPUs: cpus}); err != nil {
			return err
		}
	}
	list := []string{"--config", config, "--config-dir", dropins}
	for _, name := range []string{"kubelet.conf", "bootstrap-kubelet.conf"} {
		if file := filepath.Join(etc, "kubernetes", name); isThere(file) {
			list = append(list, "--kubeconfig", file)
		}
	}
	list = Flags(filepath.Join(etc, "kubernetes"), "", list, log)
	Check(filepath.Join(etc, "kubernetes"), list, Host(etc, memory, cpus), log)
	return nil
}

// checkProvidersOnHost checks the credential providers, with other programs than init.
func checkProvidersOnHost(etc string, log io.Writer) error {
	file := filepath.Join(etc, "kubernetes/credential-providers.yaml")
	raw, err := readFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		dir, fail := standIns(raw)
		if fail != nil {
			return fail
		}
		defer os.RemoveAll(dir)
		err = plugin.RegisterCredentialProviderPlugins(file, dir, nil, nil)
	}
	if err != nil {
		fmt.Fprintf(log, "kios: ignoring %s: %s: images are pulled without credentials\n", file, oneLine(err))
	}
	return nil
}

// standIns makes a directory with a program for each provider.
func standIns(raw []byte) (dir string, err error) {
	if dir, err = os.MkdirTemp("", hostCommand); err != nil {
		return "", err
	}
	for _, name := range namesOf(raw) {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), nil, 0o700))
	}
	return dir, err
}

// hostLog prints lines as the node has them, where the files are in /etc.
type hostLog struct {
	etc string
	to  io.Writer
}

func (l *hostLog) Write(line []byte) (int, error) {
	text := strings.TrimPrefix(string(line), "kios: ")
	text = strings.ReplaceAll(text, filepath.Clean(l.etc)+"/", "/etc/")
	_, err := io.WriteString(l.to, text)
	return len(line), err
}
