package joincmd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		return nil, fmt.Errorf("what is given with %s is for a shell, which a node does not have: write it out", flagOf(args, i))
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

// flagOf names the flag that an argument belongs to: its value may be secret.
func flagOf(args []string, i int) string {
	for ; i >= 0; i-- {
		if name, _, _ := strings.Cut(args[i], "="); strings.HasPrefix(name, "-") && !strings.ContainsAny(name, "$`") {
			return fmt.Sprintf("%.60q", name)
		}
	}
	return "no flag"
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

// configuration is a JoinConfiguration with what the flags say: kubeadm makes one of them, too.
type configuration struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Discovery  discovery `json:"discovery"`
	Node       struct {
		Name string `json:"name,omitempty"`
	} `json:"nodeRegistration"`
}

type discovery struct {
	BootstrapToken *bootstrapToken `json:"bootstrapToken,omitempty"`
	File           *file           `json:"file,omitempty"`
	TLSToken       string          `json:"tlsBootstrapToken,omitempty"`
}

type bootstrapToken struct {
	Token      string   `json:"token"`
	Server     string   `json:"apiServerEndpoint"`
	Hashes     []string `json:"caCertHashes,omitempty"`
	UnsafeSkip bool     `json:"unsafeSkipCAVerification,omitempty"`
}

type file struct {
	Path string `json:"kubeConfigPath"`
}

// configuration is the text of one.
func (f *flags) configuration() ([]byte, error) {
	c := configuration{APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "JoinConfiguration"}
	c.Node.Name = f.last("node-name")
	c.Discovery.TLSToken = cmp.Or(f.last("tls-bootstrap-token"), f.last("token"))
	if path := f.last("discovery-file"); path != "" {
		c.Discovery.File = &file{path}
		return json.Marshal(c)
	}
	token := &bootstrapToken{
		Token:      cmp.Or(f.last("discovery-token"), f.last("token")),
		Server:     f.server,
		Hashes:     f.values["discovery-token-ca-cert-hash"],
		UnsafeSkip: f.has("discovery-token-unsafe-skip-ca-verification"),
	}
	if len(token.Hashes) == 0 && !token.UnsafeSkip {
		return nil, errors.New("it has no --discovery-token-ca-cert-hash: kubeadm token create --print-join-command prints it")
	}
	c.Discovery.BootstrapToken = token
	return json.Marshal(c)
}
