package provider

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/metadata/fetch"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/want"
)

// local is a machine of which no cloud says who it is: its UUID is in the firmware, which
// a disk does not take along.
func (l *look) local() want.Machine {
	return want.Machine{ID: clean(strings.ToLower(l.dmi.ProductUUID)), WeakID: true}
}

// unlessSecure is an error about something that would count. What does not cannot be a
// mistake.
func (l *look) unlessSecure(err error) error {
	if l.secure {
		return nil
	}
	return err
}

// commandLine looks for kios.config=URL and for ds=nocloud;s=URL.
func (l *look) commandLine(context.Context) (*Found, error) {
	config, err := machine.FindConfig(l.words)
	if config == nil && err == nil {
		ds, _ := l.words.Last("ds")
		return l.seed(ds, "ds= on the kernel command line")
	}
	if l.refuse("kios.config= on the kernel command line") || err != nil {
		return nil, l.unlessSecure(err)
	}
	return &Found{Name: "cmdline", From: "the URL of kios.config= on the kernel command line", read: func(ctx context.Context) (want.Machine, error) {
		return l.readConfig(ctx, config)
	}}, nil
}

func (l *look) readConfig(ctx context.Context, config *machine.Config) (want.Machine, error) {
	c := l.client(config.URL)
	c.Anywhere = true
	// Whoever names a file means that it is there.
	request := fetch.Request{Required: true, Check: checkUserData}
	if config.SHA256 != "" {
		request.Check = fetch.SHA256(config.SHA256)
	}
	m := l.local()
	var err error
	m.UserData, err = c.Do(ctx, l.expect(userDataFile, request, fetch.IsBlank))
	if !fetch.IsBlank(m.UserData) {
		m.Had = []string{userDataFile}
	}
	complete(&m, nil, "")
	return m, err
}

// seed looks for a NoCloud whose files are on a server.
func (l *look) seed(text, where string) (*Found, error) {
	seed, err := machine.FindSeed(text)
	if seed == nil && err == nil {
		return nil, nil
	}
	if l.refuse(where) || err != nil {
		return nil, l.unlessSecure(err)
	}
	return &Found{Name: "nocloud", From: "the URL of " + where, read: func(ctx context.Context) (want.Machine, error) {
		return l.readSeed(ctx, seed)
	}}, nil
}

// smbios looks for a string of type 11, and for NoCloud's in the serial number.
func (l *look) smbios(context.Context) (*Found, error) {
	data, err := l.View.Credential("kios.user-data")
	if l.unlessSecure(err) != nil {
		return nil, err
	}
	const where = "the string of SMBIOS with kios.user-data"
	if data == nil || l.refuse(where) {
		ds, _ := strings.CutPrefix(l.dmi.ProductSerial, "ds=")
		return l.seed(ds, "ds= in the machine's serial number")
	}
	return &Found{Name: "smbios", From: where, read: func(context.Context) (want.Machine, error) {
		m := l.local()
		m.UserData = data
		complete(&m, nil, "")
		return m, nil
	}}, nil
}

// The names of variables of the first kiOS, but for the token, which it lacked.
const (
	varHostname   = "Hostname"
	varEndpoint   = "Kube-Api-Endpoint"
	varCACert     = "Kube-CA-Cert"
	varCAKey      = "Kube-CA-Key"
	varToken      = "Kube-Bootstrap-Token"
	varNameserver = "Nameserver" // and anything behind it
	varLabel      = "Node-Label-"
)

// variables looks for the firmware's variables of the first kiOS.
func (l *look) variables(context.Context) (*Found, error) {
	vars, err := l.View.Variables()
	if err != nil || len(vars) == 0 {
		return nil, err
	}
	return &Found{Name: "uefi", From: "the firmware's variables", read: func(context.Context) (want.Machine, error) {
		m := l.local()
		m.Node = nodeOf(vars)
		complete(&m, nil, m.Node.Hostname)
		return m, nil
	}}, nil
}

// nodeOf makes a node of the variables.
func nodeOf(vars map[string][]byte) *want.Node {
	n := &want.Node{Hostname: hostname(said(vars[varHostname])), Labels: map[string]string{}}
	if n.Hostname == "" && len(vars[varHostname]) > 0 {
		n.Skip("the variable %s: %.100q is no host name", varHostname, said(vars[varHostname]))
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if key, ok := strings.CutPrefix(name, varLabel); ok {
			n.Labels[strings.ReplaceAll(key, "_", "/")] = said(vars[name])
		}
		if strings.HasPrefix(name, varNameserver) {
			addNameserver(n, name, vars[name])
		}
	}
	addKey(n, vars)
	addJoin(n, vars)
	return n
}

// said is a variable as text: some tools end it with a zero byte or a new line.
func said(value []byte) string { return strings.TrimSpace(string(bytes.TrimRight(value, "\x00"))) }

func addNameserver(n *want.Node, name string, value []byte) {
	a, err := nameserver(value)
	if err != nil {
		n.Skip("the variable %.100s: %.100q is no address of a name server", name, value)
		return
	}
	n.Nameservers = append(n.Nameservers, a)
}

// nameserver reads 4 bytes of IPv4, 16 of IPv6, which a zone may follow ("%eth0"), or text,
// which may have 16 bytes, too.
func nameserver(value []byte) (netip.Addr, error) {
	text, err := netip.ParseAddr(said(value))
	if err == nil && len(value) > net.IPv4len {
		return text, nil
	}
	if a, ok := netip.AddrFromSlice(value); ok {
		return a, nil
	}
	if len(value) > 16 && value[16] == '%' {
		a, _ := netip.AddrFromSlice(value[:16])
		return a.WithZone(said(value[17:])), nil
	}
	return text, err
}

// addKey writes a cluster's CA with its key, which only nodes of the control plane have.
func addKey(n *want.Node, vars map[string][]byte) {
	if len(vars[varCAKey]) == 0 {
		return
	}
	n.Files = append(n.Files,
		want.File{Path: "/etc/kubernetes/pki/ca.crt", Content: vars[varCACert]},
		want.File{Path: "/etc/kubernetes/pki/ca.key", Content: vars[varCAKey], Mode: 0o600})
}

// addJoin asks for what a join takes: nobody but the CA tells which server to trust.
func addJoin(n *want.Node, vars map[string][]byte) {
	server, token := said(vars[varEndpoint]), said(vars[varToken])
	if server == "" {
		return
	}
	for _, name := range []string{varToken, varCACert} {
		if said(vars[name]) == "" {
			n.Skip("the variable %s: there is no %s, without which the node cannot join; set it, too", varEndpoint, name)
			return
		}
	}
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	n.Join = &want.Join{Server: server, Token: token, CA: vars[varCACert]}
	// No variable says what kios image --join has flags for; these are its defaults.
	n.Kubelet = map[string]any{
		"clusterDNS":         []string{"10.96.0.10"}, // without both, pods find no service by its name
		"clusterDomain":      "cluster.local",
		"serverTLSBootstrap": true, // an API server may ask a kubelet for a certificate of the cluster
	}
}
