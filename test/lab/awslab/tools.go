package awslab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kios/test/lab"
	"kios/test/lab/netns"
)

// Tool compiles a program of Amazon's that upstream/awstools lists, unmodified: those are
// "sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator" and
// "github.com/aws/amazon-ec2-metadata-mock/cmd/ec2-metadata-mock". The first time takes
// minutes.
func Tool(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-p", "2", "-o", out, pkg)
	cmd.Dir = filepath.Join(lab.Root(t), "upstream/awstools")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -gcflags=all=-dwarf=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", pkg, err, text)
	}
	return out
}

// AuthenticatorPort is where Authenticator listens on the namespace's loopback.
const AuthenticatorPort = 21362

// Authenticator runs aws-iam-authenticator in the namespace of Start, with the lab as
// its STS, for a cluster of that name. It returns the file for the API server's
// --authentication-token-webhook-config-file. The machine's role has the user name that
// is given, in which {{SessionName}} is the instance id, and the groups of EKS nodes.
func (l *Lab) Authenticator(t testing.TB, namespace, cluster, user string) (kubeconfig string, p *netns.Process) {
	t.Helper()
	dir, o := t.TempDir(), l.Options()
	config, roots := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "ca.pem")
	lab.WriteFile(t, roots, string(l.CA))
	lab.WriteFile(t, config, fmt.Sprintf(`clusterID: %s
server:
  mapRoles:
  - roleARN: arn:aws:iam::%s:role/%s
    username: %q
    groups: [system:bootstrappers, system:nodes]
`, cluster, o.Account, o.Role, user))
	l.Hosts(t, namespace, "sts."+o.Region+".amazonaws.com", "ec2."+o.Region+".amazonaws.com")
	kubeconfig = filepath.Join(dir, "webhook.yaml")
	p = netns.Start(t, namespace, []string{"SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=/nowhere", "AWS_CA_BUNDLE=" + roots, "AWS_REGION=" + o.Region},
		Tool(t, "sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator"), "server",
		"--config="+config, "--state-dir="+dir, "--generate-kubeconfig="+kubeconfig, fmt.Sprintf("--port=%d", AuthenticatorPort))
	return kubeconfig, p
}
