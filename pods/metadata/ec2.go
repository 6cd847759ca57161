package metadata

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kios/internal/control"
	"kios/internal/credprovider"
	"kios/internal/daemonenv"
	"kios/internal/instance"
	"kios/internal/userfile"
	"kios/pods/metadata/aws"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

// openEC2 prepares to ask EC2 with the proxy and the certificates that are there by now.
func (r *reading) openEC2() *aws.Cloud {
	o := r.ec2Options
	o.Log = r.aloud()
	o.Proxy = r.proxy()
	if o.Roots == nil {
		o.Roots = roots(filepath.Join(r.Root, "etc/ssl/certs"))
	}
	return aws.Open(o)
}

// proxy is that of the node's programs. This process has their variables from then on, and
// reads them once: it is nil as long as there is no proxy.
func (r *reading) proxy() aws.Proxy {
	list, _ := daemonenv.Read(filepath.Join(r.Root, "etc", daemonenv.File), "containerd") // PID 1 names bad lines
	for name, value := range r.node.Environment {
		list = append(list, name+"="+value)
	}
	for _, variable := range list {
		switch name, value, _ := strings.Cut(variable, "="); strings.ToUpper(name) {
		case "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY":
			os.Setenv(name, value)
		}
	}
	if os.Getenv("HTTPS_PROXY") == "" && os.Getenv("https_proxy") == "" {
		return nil
	}
	return http.ProxyFromEnvironment
}

// roots are the certificates in a directory, as Go would read them, which does that once:
// the user data may have some. It is nil if there are none.
func roots(dir string) *x509.CertPool {
	pool, found := x509.NewCertPool(), false
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if text, err := userfile.Read(filepath.Join(dir, f.Name()), userfile.Max); err == nil {
			found = pool.AppendCertsFromPEM(text) || found
		}
	}
	if !found {
		return nil
	}
	return pool
}

// unnamed reports whether it is not known yet under which name EKS knows the machine.
func (r *reading) unnamed() bool {
	return r.ec2 != nil && r.node.EKS != nil && r.node.Hostname == ""
}

// withoutCluster is a node whose files of the cluster stay as they are, like all others that
// it does not name.
func withoutCluster(n *want.Node) *want.Node {
	early := *n
	early.Partial = true
	if n.Join != nil {
		join := *n.Join
		join.ClusterConfig = true // which nobody has asked for yet
		early.Join = &join
	}
	return &early
}

// nameBefore is the name that this pod has given the node before, "" for none.
func (r *reading) nameBefore() string {
	const path = "/etc/hostname"
	record, err := instance.Load(r.Root)
	if err != nil || record.Machine == "" || record.Machine != r.machine.ID {
		return ""
	}
	text, err := userfile.Read(filepath.Join(r.Root, path), 1<<10)
	if sum := sha256.Sum256(text); err != nil || record.Files[path] != hex.EncodeToString(sum[:]) {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// stayOnEC2 does what a node there needs for as long as it runs. bad is what is wrong with
// the user data, or nil: the pod does not end, and so it says that again.
func (r *reading) stayOnEC2(ctx context.Context, bad error) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		return r.ec2.Run(ctx, r.node.EKS, aws.Paths{
			Token:    filepath.Join(r.Root, eks.TokenFile),
			PowerOff: filepath.Join(r.Root, control.PowerOff),
		})
	})
	work.Go(func() error { r.remind(ctx, bad); return nil })
	if r.hasRegistries() {
		work.Go(func() error { r.serveRegistries(ctx); return nil })
	}
	return work.Wait()
}

// remind writes its lines once an hour.
func (r *reading) remind(ctx context.Context, bad error) {
	if bad == nil {
		return
	}
	for hour := time.NewTicker(time.Hour); ; {
		select {
		case <-ctx.Done():
			hour.Stop()
			return
		case <-hour.C:
			r.complain(bad)
		}
	}
}

// hasRegistries reports whether it is up to this pod to give the kubelet credentials of ECR.
// On other nodes, a pod of the user may.
func (r *reading) hasRegistries() bool {
	record, err := instance.Load(r.Root)
	_, ours := record.Files[eks.ProvidersFile]
	return r.node.EKS != nil || err == nil && ours
}

// serveRegistries serves these credentials. Without them the node goes on: it needs its token.
func (r *reading) serveRegistries(ctx context.Context) {
	socket := filepath.Join(r.Root, credprovider.Socket(eks.ProviderName))
	err := credprovider.Serve(ctx, socket, func(ctx context.Context, _ []string, request []byte) ([]byte, error) {
		return r.ec2.Credentials(ctx, request)
	})
	if err != nil && ctx.Err() == nil {
		r.aloud().Printf("the kubelet gets no credentials of registries: %v; restart the pod", err)
	}
}
