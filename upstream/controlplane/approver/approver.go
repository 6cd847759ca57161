// Package approver lets kubelets have the serving certificates that are theirs.
// With serverTLSBootstrap a kubelet asks the cluster for the certificate of its
// port 10250, and Kubernetes leaves it to somebody else to approve that
// (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation).
//
// A request is approved when it comes from a node, and asks for that node's own
// name and addresses, those that are in its status; see check.go. It leaves every
// other request to a person, and logs the reason. When nodes change, it looks again
// at all requests that are pending: a node or one of its addresses may have been
// missing, or another node may have had the address.
//
// It keeps no state. Two of them do no harm, so there is no leader election.
package approver

import (
	"context"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// NewCommand returns the program.
func NewCommand() *cobra.Command {
	var kubeconfig string
	var allowed, forbidden, servers []string
	cmd := &cobra.Command{
		Use:   "kubelet-serving-approver",
		Short: "Approve the serving certificates of kubelets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := parseRules(allowed, forbidden, servers)
			if err != nil {
				return err
			}
			client, err := newClient(kubeconfig)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(ctx, client, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `file` for the API server (default: the service account of the pod)")
	f.StringSliceVar(&allowed, "allowed-cidrs", nil, "approve no address outside these `networks` (default: any address that the node says it has)")
	f.StringSliceVar(&forbidden, "forbidden", nil, "`names`, addresses and networks that no node may have, such as those of services and pods; the names of services and the loopback network are always forbidden")
	f.StringSliceVar(&servers, "api-server-nodes", nil, "`names` of the nodes that the API server runs on: they may have the names and addresses, but not the networks, of --forbidden")
	return cmd
}

// newClient returns a client with the kubeconfig file, or without one with the
// credentials of the pod's service account.
func newClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// approver is the loop: whatever changes puts names of requests into the queue.
type approver struct {
	client   kubernetes.Interface
	rules    rules
	requests certificateslisters.CertificateSigningRequestLister
	nodes    corelisters.NodeLister
	queue    workqueue.TypedRateLimitingInterface[string]
}

// run works until ctx ends.
func run(ctx context.Context, client kubernetes.Interface, r rules) error {
	if err := waitForAccess(ctx, client); err != nil {
		return nil // told to stop
	}
	requests := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *meta.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.signerName", certificates.KubeletServingSignerName).String()
	}))
	nodes := informers.NewSharedInformerFactory(client, 0)
	a := &approver{
		client:   client,
		rules:    r,
		requests: requests.Certificates().V1().CertificateSigningRequests().Lister(),
		nodes:    nodes.Core().V1().Nodes().Lister(),
		queue:    workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	if err := a.listen(requests.Certificates().V1().CertificateSigningRequests().Informer(), nodes.Core().V1().Nodes().Informer()); err != nil {
		return err
	}
	requests.Start(ctx.Done())
	nodes.Start(ctx.Done())
	requests.WaitForCacheSync(ctx.Done())
	nodes.WaitForCacheSync(ctx.Done())
	klog.InfoS("Watching for requests of kubelets")
	go func() {
		<-ctx.Done()
		a.queue.ShutDown()
	}()
	for a.next(ctx) {
	}
	return nil
}

// waitForAccess waits until the program may do its work: in a new cluster it starts
// before its role is there. The informers would wait as well, but up to half a
// minute too long.
func waitForAccess(ctx context.Context, client kubernetes.Interface) error {
	last := ""
	for {
		_, err := client.CertificatesV1().CertificateSigningRequests().List(ctx, meta.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		if text := err.Error(); text != last {
			klog.InfoS("Waiting for access to requests", "reason", text)
			last = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (a *approver) listen(requests, nodes cache.SharedIndexInformer) error {
	enqueue := func(o any) {
		if csr, ok := o.(*certificates.CertificateSigningRequest); ok && pending(csr) {
			a.queue.Add(csr.Name)
		}
	}
	if _, err := requests.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, o any) { enqueue(o) },
	}); err != nil {
		return err
	}
	_, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { a.lookAgain() },
		UpdateFunc: func(old, now any) {
			was, is := old.(*core.Node), now.(*core.Node)
			if was.UID != is.UID || !slices.Equal(was.Status.Addresses, is.Status.Addresses) {
				a.lookAgain()
			}
		},
		DeleteFunc: func(any) { a.lookAgain() },
	})
	return err
}

// lookAgain takes all requests that nobody has decided about.
func (a *approver) lookAgain() {
	all, err := a.requests.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "List requests")
	}
	for _, csr := range all {
		if pending(csr) {
			a.queue.Add(csr.Name)
		}
	}
}

// pending reports whether nobody has decided about a request yet.
func pending(csr *certificates.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) == 0 && !slices.ContainsFunc(csr.Status.Conditions, func(c certificates.CertificateSigningRequestCondition) bool {
		return c.Type == certificates.CertificateApproved || c.Type == certificates.CertificateDenied || c.Type == certificates.CertificateFailed
	})
}

func (a *approver) next(ctx context.Context) bool {
	name, quit := a.queue.Get()
	if quit {
		return false
	}
	defer a.queue.Done(name)
	if err := a.decide(ctx, name); err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "Approve request", "request", name)
		a.queue.AddRateLimited(name)
		return true
	}
	a.queue.Forget(name)
	return true
}

// decide approves one request or says why not.
func (a *approver) decide(ctx context.Context, name string) error {
	csr, err := a.requests.Get(name)
	if errors.IsNotFound(err) || err == nil && !pending(csr) {
		return nil
	}
	if err != nil {
		return err
	}
	nodes, err := a.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	if reason := a.rules.check(csr, nodes); reason != nil {
		klog.InfoS("Left alone", "request", name, "user", csr.Spec.Username, "reason", reason.Error())
		return nil
	}
	return a.approve(ctx, csr.DeepCopy())
}

func (a *approver) approve(ctx context.Context, csr *certificates.CertificateSigningRequest) error {
	name := csr.Name
	csr.Status.Conditions = append(csr.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type:    certificates.CertificateApproved,
		Status:  core.ConditionTrue,
		Reason:  "KubeletServing",
		Message: "kubelet-serving-approver: the names and addresses are those of the node",
	})
	_, err := a.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, name, csr, meta.UpdateOptions{})
	if errors.IsNotFound(err) || errors.IsConflict(err) {
		return nil // what has changed since comes by itself
	}
	if err == nil {
		klog.InfoS("Approved", "request", name, "user", csr.Spec.Username)
	}
	return err
}
