package approver

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
)

const (
	userPrefix = "system:node:"
	group      = "system:nodes"
)

// rules bound what nodes may claim to be: they write their addresses into the
// cluster's state themselves.
type rules struct {
	allowed   []netip.Prefix // each address is in one of these, if there are any
	forbidden []netip.Prefix // and in none of these
	names     []string       // of the API server, say, in lower case: only servers may have them
	addresses []netip.Addr   // likewise
	servers   []string       // the nodes that the API server runs on
}

// parseRules reads the values of the flags.
func parseRules(allowed, forbidden, servers []string) (r rules, err error) {
	r.servers = servers
	for _, text := range allowed {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return r, fmt.Errorf("--allowed-cidrs: %w", err)
		}
		r.allowed = append(r.allowed, p)
	}
	for _, text := range forbidden {
		if p, err := netip.ParsePrefix(text); err == nil {
			r.forbidden = append(r.forbidden, p)
		} else if a, err := netip.ParseAddr(text); err == nil {
			r.addresses = append(r.addresses, a.Unmap())
		} else if strings.Contains(text, "/") {
			return r, fmt.Errorf("--forbidden: %q is not a network", text)
		} else {
			r.names = append(r.names, strings.ToLower(text))
		}
	}
	return r, nil
}

// nodeName returns the node that a request claims to come from: its user, which
// the API server has authenticated.
func nodeName(csr *certificates.CertificateSigningRequest) (string, error) {
	name, found := strings.CutPrefix(csr.Spec.Username, userPrefix)
	if !found || name == "" || !slices.Contains(csr.Spec.Groups, group) {
		return "", fmt.Errorf("%s is no node", csr.Spec.Username)
	}
	return name, nil
}

// check returns nil if the node of the request may have what it asks for, and
// else the reason why it may not, or not yet. Nodes are all that there are.
func (r rules) check(csr *certificates.CertificateSigningRequest, nodes []*core.Node) error {
	if csr.Spec.SignerName != certificates.KubeletServingSignerName {
		return fmt.Errorf("the signer is %s", csr.Spec.SignerName)
	}
	name, err := nodeName(csr)
	if err != nil {
		return err
	}
	request, err := parseRequest(csr.Spec.Request)
	if err != nil {
		return err
	}
	if err := checkSubject(request, name); err != nil {
		return err
	}
	if err := checkUsages(csr.Spec.Usages); err != nil {
		return err
	}
	i := slices.IndexFunc(nodes, func(n *core.Node) bool { return n.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no node %s", name)
	}
	if err := r.checkNames(request, nodes[i]); err != nil {
		return err
	}
	return checkOthers(request, nodes[i], nodes)
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("the request is not one certificate request in PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the request does not parse: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request was not signed with its key: %w", err)
	}
	return request, nil
}

// checkSubject wants the node's own name and group, and nothing besides.
func checkSubject(request *x509.CertificateRequest, name string) error {
	subject := request.Subject
	switch {
	case subject.CommonName != userPrefix+name:
		return fmt.Errorf("the common name is %q, and the request came from the node %s", subject.CommonName, name)
	case !slices.Equal(subject.Organization, []string{group}):
		return fmt.Errorf("the organization is %q and not %s alone", subject.Organization, group)
	case len(subject.Names) != 2:
		return fmt.Errorf("the subject %q has more than a common name and an organization", subject)
	}
	return nil
}

// checkUsages wants those of a TLS server. A server with an RSA key may be sent
// keys that are enciphered with it.
func checkUsages(usages []certificates.KeyUsage) error {
	var rest []certificates.KeyUsage
	for _, u := range usages {
		if u != certificates.UsageKeyEncipherment {
			rest = append(rest, u)
		}
	}
	slices.Sort(rest)
	if !slices.Equal(rest, []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageServerAuth}) {
		return fmt.Errorf("the usages are %q and not digital signature and server auth", usages)
	}
	return nil
}

// checkNames wants only names and addresses that are the node's.
func (r rules) checkNames(request *x509.CertificateRequest, node *core.Node) error {
	if len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		return errors.New("it is for mail addresses or URIs")
	}
	if len(request.DNSNames)+len(request.IPAddresses) == 0 {
		return errors.New("it is for no name and no address")
	}
	for _, name := range request.DNSNames {
		if err := r.checkName(name, node); err != nil {
			return err
		}
	}
	for _, ip := range request.IPAddresses {
		if err := r.checkIP(ip, node); err != nil {
			return err
		}
	}
	return nil
}

func (r rules) checkName(name string, node *core.Node) error {
	// Kubelets ask for addresses as such, and for names without the root's dot: other
	// spellings would pass by what is compared below.
	if _, err := netip.ParseAddr(name); err == nil || strings.HasSuffix(name, ".") {
		return fmt.Errorf("%s is no name that a kubelet would ask for", name)
	}
	lower := strings.ToLower(name)
	if serviceName(lower) || slices.Contains(r.names, lower) && !r.isServer(node) {
		return fmt.Errorf("%s is a name that no node may have", name)
	}
	if name == node.Name {
		return nil
	}
	if !hasAddress(node, name, core.NodeHostName, core.NodeInternalDNS, core.NodeExternalDNS) {
		return fmt.Errorf("%s is no name of the node %s", name, node.Name)
	}
	return nil
}

// checkOthers wants no name of another node, and neither a name nor an address in
// the status of a node that was there before this one. The node's own name nobody
// disputes: the API server has authenticated it.
func checkOthers(request *x509.CertificateRequest, node *core.Node, all []*core.Node) error {
	claims := slices.Clone(request.DNSNames)
	for _, ip := range request.IPAddresses {
		claims = append(claims, ip.String())
	}
	for _, other := range all {
		if other.Name == node.Name {
			continue
		}
		for _, claim := range claims {
			earlier := !node.CreationTimestamp.Before(&other.CreationTimestamp)
			if strings.EqualFold(claim, other.Name) || earlier && claim != node.Name && hasAddress(other, claim, addressTypes...) {
				return fmt.Errorf("%s is the node %s", claim, other.Name)
			}
		}
	}
	return nil
}

var addressTypes = []core.NodeAddressType{
	core.NodeHostName, core.NodeInternalDNS, core.NodeExternalDNS, core.NodeInternalIP, core.NodeExternalIP,
}

// serviceName reports whether pods take a name for that of a service, the API
// server's above all: the same authority signs its certificate.
func serviceName(name string) bool {
	return name == "localhost" || name == "kubernetes" || name == "kubernetes.default" ||
		strings.HasSuffix(name, ".svc") || strings.Contains(name, ".svc.") || strings.HasSuffix(name, ".cluster.local") || strings.Contains(name, "*")
}

func (r rules) checkIP(ip net.IP, node *core.Node) error {
	address, ok := netip.AddrFromSlice(ip)
	address = address.Unmap()
	if !ok || !address.IsGlobalUnicast() || anyContains(r.forbidden, address) ||
		slices.Contains(r.addresses, address) && !r.isServer(node) {
		return fmt.Errorf("%s is an address that no node may have", ip)
	}
	if len(r.allowed) > 0 && !anyContains(r.allowed, address) {
		return fmt.Errorf("%s is in none of --allowed-cidrs", ip)
	}
	if !hasAddress(node, address.String(), core.NodeInternalIP, core.NodeExternalIP) {
		return fmt.Errorf("%s is no address of the node %s", ip, node.Name)
	}
	return nil
}

func (r rules) isServer(node *core.Node) bool { return slices.Contains(r.servers, node.Name) }

func anyContains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hasAddress looks into the node's status, where the kubelet puts its addresses.
func hasAddress(node *core.Node, want string, types ...core.NodeAddressType) bool {
	return slices.ContainsFunc(node.Status.Addresses, func(a core.NodeAddress) bool {
		return slices.Contains(types, a.Type) && sameAddress(a.Address, want)
	})
}

// sameAddress compares names, and addresses in whatever way they are written.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return strings.EqualFold(a, b)
}
