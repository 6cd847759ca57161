package joincmd

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"kios/pods/metadata/want"
)

// flags are what is after kubeadm join.
type flags struct {
	server string
	values map[string][]string
}

// booleans are the flags of kubeadm join whose value, if any, is after a =.
var booleans = []string{"control-plane", "experimental-control-plane", "discovery-token-unsafe-skip-ca-verification", "dry-run", "help"}

// parse reads them. Those that it does not know are taken to have a value, as most have.
func parse(args []string) (*flags, error) {
	f := &flags{values: map[string][]string{}}
	if i := slices.IndexFunc(args, func(arg string) bool { return strings.ContainsAny(arg, "$`") }); i >= 0 {
		return nil, fmt.Errorf("%.100q is for a shell, which a node does not have: write it out", args[i])
	}
	for i := 0; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "-"):
			f.server = args[i]
		case assigned, slices.Contains(booleans, strings.TrimLeft(name, "-")):
			f.add(name, value)
		case i+1 < len(args):
			i++
			f.add(name, args[i])
		}
	}
	return f, nil
}

func (f *flags) add(name, value string) {
	name = strings.TrimLeft(name, "-")
	f.values[name] = append(f.values[name], strings.Split(value, ",")...)
}

// has reports whether a flag without a value is set.
func (f *flags) has(name string) bool {
	values, found := f.values[name]
	return found && values[len(values)-1] != "false"
}

// last is the value of a flag that has one: the last is the one that counts.
func (f *flags) last(name string) string {
	if values := f.values[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

var (
	tokenForm = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
	hashForm  = regexp.MustCompile(`^sha256:[0-9a-fA-F]{64}$`)
)

// apply asks for a cluster as a JoinConfiguration with the same would.
func (f *flags) apply(n *want.Node) error {
	join := &want.Join{
		Server:        "https://" + f.server,
		Hashes:        f.values["discovery-token-ca-cert-hash"],
		Insecure:      f.has("discovery-token-unsafe-skip-ca-verification"),
		Token:         f.last("token"),
		ClusterConfig: true,
	}
	if join.Token == "" {
		join.Token = f.last("tls-bootstrap-token")
	}
	if err := f.check(join); err != nil {
		return err
	}
	n.Join = join
	if name := f.last("node-name"); name != "" {
		n.Hostname = strings.ToLower(name)
	}
	return nil
}

// check says what a command lacks.
func (f *flags) check(join *want.Join) error {
	if f.last("discovery-file") != "" {
		return errors.New("--discovery-file is not read: write a JoinConfiguration with it into a file, and name that with --config")
	}
	if _, port, err := net.SplitHostPort(f.server); err != nil || port == "" {
		return fmt.Errorf("%.200q is not HOST:PORT of an API server", f.server)
	}
	if !tokenForm.MatchString(join.Token) {
		return errors.New("it has no bootstrap token, as --token abcdef.0123456789abcdef")
	}
	if len(join.Hashes) == 0 && !join.Insecure {
		return errors.New("it has no --discovery-token-ca-cert-hash: kubeadm token create --print-join-command prints it")
	}
	for _, hash := range join.Hashes {
		if !hashForm.MatchString(hash) {
			return fmt.Errorf("the hash %.100q is not sha256: and 64 hexadecimal digits", hash)
		}
	}
	return nil
}
