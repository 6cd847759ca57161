package awslab

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kios/test/lab"
	"kios/test/lab/netns"
)

// Options say what machine it is. All that are empty have the defaults of an example.
type Options struct {
	Region   string // eu-central-1
	Zone     string // eu-central-1a
	Account  string // 111122223333
	Role     string // kios-node, of the machine
	Instance string // i-0123456789abcdef0
	Type     string // m5.large
	MAC      string // 02:00:00:00:00:01, of the first interface
	IPv4     string // 10.0.0.10, that the metadata service tells
	IPv6     string // none

	// PrivateDNSName is what the API of EC2 tells: ip-10-0-0-10.eu-central-1.compute.internal.
	// The metadata service has Hostname, which differs where the VPC has a domain of its own.
	PrivateDNSName string
	Hostname       string // as PrivateDNSName

	// Interfaces and Addresses of each are what the API of EC2 tells of a type: 3 and 10.
	Interfaces, Addresses int

	Denied   []string     // actions that the role lacks, such as "ec2:DescribeInstances"
	Registry http.Handler // behind every registry of ECR, for those who have the password
	Address  string       // of the namespace, where the APIs are: 127.0.0.1
}

// fill sets the defaults.
func (o *Options) fill() {
	o.Region = cmp.Or(o.Region, "eu-central-1")
	o.Zone = cmp.Or(o.Zone, o.Region+"a")
	o.Account = cmp.Or(o.Account, "111122223333")
	o.Role = cmp.Or(o.Role, "kios-node")
	o.Instance = cmp.Or(o.Instance, "i-0123456789abcdef0")
	o.Type = cmp.Or(o.Type, "m5.large")
	o.MAC = cmp.Or(o.MAC, "02:00:00:00:00:01")
	if o.IPv4 == "" && o.IPv6 == "" {
		o.IPv4 = "10.0.0.10"
	}
	o.PrivateDNSName = cmp.Or(o.PrivateDNSName, "ip-10-0-0-10."+o.Region+".compute.internal")
	o.Hostname = cmp.Or(o.Hostname, o.PrivateDNSName)
	o.Interfaces, o.Addresses = cmp.Or(o.Interfaces, 3), cmp.Or(o.Addresses, 10)
	o.Address = cmp.Or(o.Address, "127.0.0.1")
}

// Lab is the cloud, until the test ends.
type Lab struct {
	IMDS *IMDS
	CA   []byte // that signs the certificates of the APIs, in PEM

	key       Key
	authority authority
	imdsAt    string // host and port for tests without a namespace
	apiAt     string

	mu       sync.Mutex
	options  Options
	requests []string
}

// Start runs the cloud in a network namespace, at the addresses that EC2 has: 169.254.169.254
// and fd00:ec2::254 for the metadata service, which the loopback interface gets, and
// Options.Address for all APIs. It takes root.
func Start(t testing.TB, namespace string, o Options) *Lab {
	t.Helper()
	l := newLab(t, o)
	netns.IP(t, namespace, "addr", "add", "169.254.169.254/32", "dev", "lo")
	netns.IP(t, namespace, "addr", "add", "fd00:ec2::254/128", "dev", "lo", "nodad") // at once
	for _, address := range []string{"169.254.169.254:80", "[fd00:ec2::254]:80"} {
		l.serve(t, netns.Listen(t, namespace, address), l.IMDS)
	}
	l.serve(t, l.secure(netns.Listen(t, namespace, net.JoinHostPort(l.options.Address, "443"))), http.HandlerFunc(l.serveAPI))
	return l
}

// Local runs the cloud on loopback, and Dial leads there.
func Local(t testing.TB, o Options) *Lab {
	t.Helper()
	l := newLab(t, o)
	imds, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(t, err)
	api, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(t, err)
	l.imdsAt, l.apiAt = imds.Addr().String(), api.Addr().String()
	l.serve(t, imds, l.IMDS)
	l.serve(t, l.secure(api), http.HandlerFunc(l.serveAPI))
	return l
}

func newLab(t testing.TB, o Options) *Lab {
	t.Helper()
	o.fill()
	l := &Lab{options: o, key: Key{"ASIAEXAMPLE", rand.Text(), rand.Text()}, IMDS: &IMDS{values: map[string]string{}, tokens: map[string]time.Time{}}}
	l.authority = newAuthority(t)
	l.CA = l.authority.pem
	l.describe()
	return l
}

// describe fills the metadata service.
func (l *Lab) describe() {
	o := l.options
	for path, value := range map[string]string{
		"instance-id": o.Instance, "instance-type": o.Type, "instance-life-cycle": "on-demand",
		"hostname": o.Hostname, "local-hostname": o.Hostname, "mac": o.MAC, "ami-id": "ami-0123456789abcdef0",
		"placement/region": o.Region, "placement/availability-zone": o.Zone,
		"services/domain": "amazonaws.com", "services/partition": "aws",
	} {
		l.IMDS.Set("meta-data/"+path, value)
	}
	card := map[string]string{"device-number": "0", "network-card": "0"}
	if o.IPv4 != "" {
		l.IMDS.Set("meta-data/local-ipv4", o.IPv4)
		card["local-ipv4s"] = o.IPv4
	}
	if o.IPv6 != "" {
		l.IMDS.Set("meta-data/ipv6", o.IPv6)
		card["ipv6s"] = o.IPv6
	}
	l.IMDS.AddInterface(o.MAC, card)
	l.IMDS.SetRole(o.Role, l.key, time.Now().Add(6*time.Hour))
}

// Options returns what the cloud says now.
func (l *Lab) Options() Options {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.options
}

// Change changes what the APIs say, from now on.
func (l *Lab) Change(change func(*Options)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.options)
}

// Requests returns those to the APIs, each as "POST ec2.eu-central-1.amazonaws.com/".
func (l *Lab) Requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

func (l *Lab) note(request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, request)
}

// Registry returns the host of the account's private registry.
func (l *Lab) Registry() string {
	return l.options.Account + ".dkr.ecr." + l.options.Region + ".amazonaws.com"
}

// domains are those of all APIs and registries.
var domains = []string{"amazonaws.com", "api.aws", "on.aws", "public.ecr.aws", "ecr-public.aws.com"}

// DNS returns arguments of dnsmasq, which then leads all hosts of Amazon to an address.
func DNS(address string) []string {
	return []string{"--address=/" + strings.Join(domains, "/") + "/" + address}
}

// Hosts has programs in the namespace that ip-netns(8) runs find hosts of the lab, which
// have no other way to ask for names.
func (l *Lab) Hosts(t testing.TB, namespace string, hosts ...string) {
	t.Helper()
	dir := filepath.Join("/etc/netns", namespace)
	lab.WriteFile(t, filepath.Join(dir, "hosts"), l.options.Address+" "+strings.Join(hosts, " ")+"\n127.0.0.1 localhost\n")
	t.Cleanup(func() { os.RemoveAll(dir) })
}

// Roots has the CA.
func (l *Lab) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.CA)
	return pool
}

// Dial connects to the lab that Local started, by the addresses and names of Amazon: the
// port tells which server is meant.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to := l.apiAt
	if strings.HasSuffix(address, ":80") {
		to = l.imdsAt
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}

// serve serves until the test ends.
func (l *Lab) serve(t testing.TB, listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve %s: %v", listener.Addr(), err)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

func (l *Lab) secure(listener net.Listener) net.Listener {
	return tls.NewListener(listener, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return l.authority.issue(hello.ServerName)
	}})
}

// authority is a CA that signs on demand, with one key for all.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	template := certificate("kiOS test of AWS")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	lab.Must(t, err)
	cert, err := x509.ParseCertificate(der)
	lab.Must(t, err)
	return authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func (a authority) issue(host string) (*tls.Certificate, error) {
	template := certificate("")
	template.Subject.CommonName, template.DNSNames = "aws", []string{host}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}, nil
}
