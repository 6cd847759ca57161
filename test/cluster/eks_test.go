//go:build cluster

package cluster

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"os"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/awslab"
)

// The machine of these tests, as EC2 describes it.
const (
	ec2Instance = "i-0123456789abcdef0"
	ec2UUID     = "ec2a1b2c-3d4e-5f60-7182-93a4b5c6d7e8"
)

// TestEKS boots a machine of EC2 with the user data that Karpenter makes, and nothing
// else. It becomes a node of a cluster whose API server asks aws-iam-authenticator who the
// node is, pulls an image from a private registry of ECR, and runs it.
func TestEKS(t *testing.T) {
	t.Parallel()
	e, cloud := newEKS(t, awslab.Options{})
	cloud.IMDS.SetUserData(e.nodeConfig(karpenterUserData))
	n := e.boot(ec2Machine(cloud))
	n.name = cloud.Options().PrivateDNSName
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	// What the cloud's controller does, which runs in EKS.
	u.demand(u.field("node/"+n.name, "{.spec.taints[*].key}"), "node.cloudprovider.kubernetes.io/uninitialized", "karpenter.sh/unregistered")
	u.kubectl("taint", "node", n.name, "node.cloudprovider.kubernetes.io/uninitialized-", "karpenter.sh/unregistered-")
	u.waitFor("node/"+n.name, "condition=Ready")
	for field, want := range map[string]string{
		"{.spec.providerID}": "aws:///eu-central-1a/" + ec2Instance,
		`{.metadata.labels.node\.kubernetes\.io/instance-type}`: "m5.large",
		`{.metadata.labels.topology\.kubernetes\.io/zone}`:      "eu-central-1a",
		`{.metadata.labels.karpenter\.sh/capacity-type}`:        "spot",
		"{.status.capacity.pods}":                               "29",
	} {
		u.demand(u.field("node/"+n.name, field), want)
	}
	image := cloud.Registry() + "/private/workload:1"
	u.apply(`apiVersion: v1
kind: Pod
metadata: {name: private}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "` + image + `", imagePullPolicy: Always, command: [/workload, sleep]}]
`)
	u.ready("private")
	n.powerOff(t)
}

// karpenterUserData has the shape of those that Karpenter makes: parts of the user's, a
// shell script among them, and then its own NodeConfig.
const karpenterUserData = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash
touch /etc/a-file

--//
Content-Type: application/node.eks.aws

# Karpenter Generated NodeConfig
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
metadata: {}
spec:
  cluster:
    apiServerEndpoint: https://%s
    certificateAuthority: %s
    cidr: 10.96.0.0/12
    name: example
    clusterEndpoint: ""
  containerd: {}
  instance:
    localStorage: {}
  kubelet:
    config:
      registerWithTaints:
      - {effect: NoExecute, key: karpenter.sh/unregistered}
    flags:
    - --node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=default"
--//--
`

func (e *env) nodeConfig(format string) []byte {
	return fmt.Appendf(nil, format, endpoint, base64.StdEncoding.EncodeToString([]byte(e.ca)))
}

// ec2Machine is one that its firmware says is EC2's.
func ec2Machine(cloud *awslab.Lab) setup {
	return setup{
		name: "ec2", cloud: true, memory: 768, etc: ec2Etc(cloud),
		qemu: []string{"-smbios", "type=1,manufacturer=Amazon EC2,product=m5.large,uuid=" + ec2UUID, "-smbios", "type=0,vendor=Amazon EC2"},
	}
}

// newEKS makes a cluster whose nodes are known by their role in AWS.
func newEKS(t *testing.T, o awslab.Options) (*env, *awslab.Lab) {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	push(t, handler, "private/workload", "1", workload(t))
	o.Address, o.Registry = gateway, handler
	o.Instance, o.IPv4, o.MAC = ec2Instance, nodeAddress(1), nodeMAC(1)
	e := bareEnv(t, newest(t))
	cloud := awslab.Start(t, e.name, o)
	webhook, _ := cloud.Authenticator(t, e.name, "example", "system:node:{{EC2PrivateDNSName}}")
	lab.Eventually(t, time.Minute, "the authenticator", func() error { _, err := os.Stat(webhook); return err })
	e.startControlPlane(clusterconfig.Config{}, "--authentication-token-webhook-config-file="+webhook)
	return e, cloud
}

// ec2Etc is what a user of kiOS adds for a cloud of tests: its authority.
func ec2Etc(cloud *awslab.Lab) map[string]string {
	return with(noNetwork, map[string]string{"ssl/certs/aws.pem": string(cloud.CA)})
}
