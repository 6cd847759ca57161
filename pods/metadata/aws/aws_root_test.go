//go:build root

package aws

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"testing"

	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/awslab"
	"kios/test/lab/netns"
)

// At the addresses of EC2, and where only the second of them is.
func TestAddresses(t *testing.T) {
	namespace := fmt.Sprintf("kios-aws-%d", os.Getpid())
	netns.Add(t, namespace)
	l := awslab.Start(t, namespace, awslab.Options{})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err == nil && net.ParseIP(host) == nil {
			address = net.JoinHostPort("127.0.0.1", port) // no test needs names for this
		}
		return netns.Dial(ctx, namespace, network, address)
	}
	said := &lab.Buffer{}
	ask := func() {
		t.Helper()
		c := Open(Options{Log: log.New(said, "", 0), Dial: dial, Roots: l.Roots()})
		name, err := c.NodeName(t.Context(), &want.Machine{ID: "i-0123456789abcdef0"}, &want.EKS{}, "")
		if err != nil || name != "ip-10-0-0-10.eu-central-1.compute.internal" {
			t.Errorf("NodeName = %q, %v; the log says %s", name, err, said)
		}
	}
	ask()
	netns.IP(t, namespace, "addr", "del", "169.254.169.254/32", "dev", "lo")
	ask()
}
