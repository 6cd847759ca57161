package userconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	netutils "k8s.io/utils/net"

	"kios/upstream/kubelet/args"
)

// flagsFile has flags of the kubelet, one a line, below the directory of the user's files.
//
// Most of the kubelet's flags are older names of fields of its configuration, and take
// precedence over all files. Here they are one more file, the last one of the user's: what
// is checked and corrected in a file is so in a flag. The others become arguments, if they
// can be true on a node.
const flagsFile = "kubelet-flags"

// userFlag is a line of the file.
type userFlag struct {
	line  int
	name  string // without dashes
	value string
}

// Flags adds to the command line what the user's file has beside the configuration, and
// names the lines that are left out. node is the node's name, "" if it is not known.
func Flags(etc, node string, list []string, log io.Writer) []string {
	log = lines{log}
	file := filepath.Join(etc, flagsFile)
	flags, bad, err := readFlags(file)
	if err != nil {
		fmt.Fprintf(log, "kios: ignoring %s: %s\n", file, oneLine(err))
		return list
	}
	notes := &document{}
	for _, b := range bad {
		notes.note("%s, line %d: ignoring %s: %s", file, b.line, b.what, oneLine(b.why))
	}
	var more []string
	for _, f := range flags {
		argument := otherFlags[f.name]
		if argument == nil {
			continue
		}
		arg, err := argument(f.value, given{node, list})
		if err != nil {
			notes.note("%s, line %d: ignoring %s: %s", file, f.line, "--"+f.name, oneLine(err))
		}
		if arg != "" {
			more = append(more, "--"+f.name+"="+arg)
		}
	}
	for _, note := range notes.notes {
		fmt.Fprintf(log, "kios: %s\n", note)
	}
	// Of a flag that is there twice, the last one counts: what other files say.
	return append(more, list...)
}

// flagDocument is the file as a document of the configuration. It has the fields only:
// what is bad beyond them, Flags says.
func flagDocument(file string) (*document, error) {
	flags, _, err := readFlags(file)
	if err != nil {
		return nil, err
	}
	fields, err := flagFields(flags)
	return &document{file: file, fields: withHead(fields)}, err
}

// badFlag is a line that is left out.
type badFlag struct {
	line int
	what string
	why  error
}

// readFlags returns the good lines of a file. No file has none.
func readFlags(file string) (flags []userFlag, bad []badFlag, err error) {
	raw, err := readFile(file)
	if err != nil && !isThere(file) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, plainIfPath(err)
	}
	known := allFlags()
	number := 0
	for line := range strings.Lines(string(raw)) {
		number++
		line, _, _ = cutComment(line)
		if line == "" {
			continue
		}
		f, err := parseFlag(line, known)
		if err == nil {
			err = f.check()
		}
		if err != nil {
			name, _, _ := strings.Cut(line, "=")
			bad = append(bad, badFlag{number, fmt.Sprintf("%.100s", name), err})
			continue
		}
		f.line = number
		flags = append(flags, f)
	}
	return flags, bad, nil
}

// plainIfPath leaves out the path, which the sentence has already.
func plainIfPath(err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}

// cutComment returns a line without its comment, which "#" begins after a blank.
func cutComment(line string) (text, comment string, found bool) {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return "", line, true
	}
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && strings.ContainsRune(" \t", rune(line[i-1])) {
			return strings.TrimSpace(line[:i]), line[i:], true
		}
	}
	return line, "", false
}

// allFlags are the kubelet's flags. They are not to be set: some are variables of this
// process.
func allFlags() *pflag.FlagSet {
	all := newFlagSet()
	options.NewKubeletFlags().AddFlags(all)
	options.AddKubeletConfigFlags(all, &config.KubeletConfiguration{})
	options.AddGlobalFlags(all)
	all.BoolP("help", "h", false, "")
	return all
}

func newFlagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	flags.SetOutput(io.Discard)
	return flags
}

// parseFlag reads "--name=value", "--name value", and "--name" of a flag that may stand
// alone.
func parseFlag(line string, known *pflag.FlagSet) (userFlag, error) {
	text := strings.TrimLeft(line, "-")
	if dashes := len(line) - len(text); dashes == 0 || dashes > 2 {
		return userFlag{}, errors.New("a line is --NAME=VALUE")
	}
	end := strings.IndexAny(text, "= \t")
	if end < 0 {
		end = len(text)
	}
	flag := known.Lookup(text[:end])
	if flag == nil && len(text[:end]) == 1 {
		flag = known.ShorthandLookup(text[:end])
	}
	if flag == nil {
		return userFlag{}, errors.New("the kubelet has no such flag")
	}
	f := userFlag{name: flag.Name, value: flag.NoOptDefVal}
	if end == len(text) {
		if f.value == "" {
			return f, errors.New("it needs a value: write --NAME=VALUE")
		}
		return f, nil
	}
	f.value = unquote(strings.TrimSpace(text[end+1:]))
	if strings.Contains(f.value, " --") {
		return f, errors.New("a line has one flag")
	}
	return f, nil
}

// unquote removes the quotes around a value: there is no shell that does.
func unquote(value string) string {
	if n := len(value); n > 1 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
		return value[1 : n-1]
	}
	return value
}

// check sets a flag by itself, as the kubelet would, and finds those that no node has.
func (f userFlag) check() error {
	if isField(f.name) {
		return setFields(fieldFlags(&config.KubeletConfiguration{}), []userFlag{f})
	}
	if otherFlags[f.name] != nil {
		others := newFlagSet()
		options.NewKubeletFlags().AddFlags(others)
		if others.Lookup(f.name) == nil {
			return nil // of cadvisor: a variable of this process
		}
		return others.Set(f.name, f.value)
	}
	if why := ownFlags[f.name]; why != "" {
		return errors.New(why)
	}
	return errors.New("it has no use on a node")
}

// given is what a flag has to agree with.
type given struct {
	node string   // the node's name
	list []string // the command line
}

// argument returns the value that a flag has on the command line, "" for none. With an
// error, that is what is left without the bad parts.
type argument func(value string, g given) (string, error)

// otherFlags are those that users may set, and that are no fields of the configuration.
var otherFlags = map[string]argument{
	"cloud-provider":                           cloudProvider,
	"hostname-override":                        hostnameOverride,
	"node-ip":                                  nodeIP,
	"node-labels":                              nodeLabels,
	"minimum-container-ttl-duration":           duration(0),
	"housekeeping-interval":                    duration(time.Second),
	"maximum-dead-containers":                  alone,
	"maximum-dead-containers-per-container":    alone,
	"experimental-allocatable-ignore-eviction": alone,
}

// ownFlags are those that the node sets itself, or that would end the kubelet, with what
// to do instead.
var ownFlags = map[string]string{
	"config":                            "put a KubeletConfiguration into config.yaml",
	"config-dir":                        "put KubeletConfigurations into config.d",
	"kubeconfig":                        "it is /etc/kubernetes/kubelet.conf",
	"bootstrap-kubeconfig":              "it is /etc/kubernetes/bootstrap-kubelet.conf",
	"cert-dir":                          "it is /var/lib/kubelet/pki",
	"root-dir":                          "it is /var/lib/kubelet",
	"runtime-cgroups":                   "PID 1 puts each program of the node into a cgroup of its own",
	"image-credential-provider-config":  "it is /etc/kubernetes/credential-providers.yaml",
	"image-credential-provider-bin-dir": "it is /usr/libexec/kubernetes/kubelet-plugins/credential-provider/exec",
	"lock-file":                         "PID 1 starts one kubelet only",
	"exit-on-lock-contention":           "PID 1 starts one kubelet only",
	"experimental-mounter-path":         "volumes are mounted with the node's own mount",
	"version":                           "the kubelet would end",
	"help":                              "the kubelet would end",
}

// cloudProvider lets a controller in the cluster ask the cloud for the node's addresses.
// The kubelet knows no other value.
func cloudProvider(value string, g given) (string, error) {
	switch said := args.Value(g.list, "cloud-provider"); {
	case value != "" && value != "external":
		return "", fmt.Errorf("%.100q is no cloud provider of the kubelet: write external", value)
	case value == "" && said != "":
		return "", fmt.Errorf("/etc/kubernetes/cloud-provider says %s", said)
	}
	return value, nil
}

// hostnameOverride is good for the name that the node has: the kubelet's certificates are
// for that.
func hostnameOverride(value string, g given) (string, error) {
	if g.node == "" || strings.EqualFold(value, g.node) {
		return "", nil
	}
	return "", fmt.Errorf("the node's name is that in /etc/hostname, and not %.100s", value)
}

// nodeIP repeats what the kubelet demands of an address when it starts (parseNodeIP,
// k8s.io/component-helpers/node/util), and before it registers (validateNodeIP of
// pkg/kubelet).
func nodeIP(value string, g given) (string, error) {
	if said := args.Value(g.list, "node-ip"); said != "" {
		if said == value {
			return "", nil
		}
		return "", fmt.Errorf("/etc/kubernetes/node-ip says %s", said)
	}
	if _, _, err := nodeutil.ParseNodeIPArgument(value, args.Value(g.list, "cloud-provider")); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(value, ",") {
		ip := netutils.ParseIPSloppy(strings.TrimSpace(part))
		if ip == nil || ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			return "", fmt.Errorf("%.100q is not an address by which a node can be reached", part)
		}
	}
	return value, nil
}

// nodeLabels leaves out labels that the kubelet would end on.
func nodeLabels(value string, _ given) (string, error) {
	var good []string
	var errs []error
	for label := range strings.SplitSeq(value, ",") {
		labels := cliflag.ConfigurationMap{}
		err := labels.Set(label)
		if err == nil {
			err = options.ValidateKubeletFlags(&options.KubeletFlags{NodeLabels: labels})
		}
		if err != nil {
			errs = append(errs, err)
		} else if len(labels) > 0 {
			good = append(good, label)
		}
	}
	return strings.Join(good, ","), errors.Join(errs...)
}

// duration is for a flag with a duration of some length at least.
func duration(least time.Duration) argument {
	return func(value string, _ given) (string, error) {
		d, err := time.ParseDuration(value)
		if err == nil && d < least {
			err = fmt.Errorf("%s is less than %s", d, least)
		}
		if err != nil {
			return "", err
		}
		return d.String(), nil
	}
}

// alone is for a flag of which the kubelet takes every value of the right type.
func alone(value string, _ given) (string, error) { return value, nil }
