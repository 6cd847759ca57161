//go:build cluster

package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"os"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"kios/host/clusterconfig"
	"kios/host/qemu"
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
// node is, pulls an image from a private registry of ECR, and runs it. It stops in order
// when EC2 takes it back.
func TestEKS(t *testing.T) {
	t.Parallel()
	e, cloud := newEKS(t, awslab.Options{})
	cloud.IMDS.SetUserData(e.nodeConfig(karpenterUserData))
	cloud.IMDS.Set("meta-data/instance-life-cycle", "spot")
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
	cloud.IMDS.Interrupt("terminate", time.Now().Add(2*time.Minute))
	n.expect(t, `stopping, as a pod \(spot-terminate\) asks`)
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(time.Minute))
	defer cancel()
	if end, err := n.Wait(ctx); err != nil || end != qemu.PoweredOff {
		t.Fatalf("the machine has %s, want powered off: %v", end, err)
	}
}

// TestEKSInAnotherMachine boots the disk of a node of EKS in another machine, as one does
// that was made of a snapshot. It is another node, without a trace of the first.
func TestEKSInAnotherMachine(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e, cloud := newEKS(t, awslab.Options{})
	cloud.IMDS.SetUserData(e.nodeConfig(karpenterUserData))
	n := e.boot(ec2Machine(cloud))
	first := cloud.Options().PrivateDNSName
	u := e.admin(t)
	u.waitFor("node/"+first, "create")
	n.powerOff(t)

	const second, name = "i-0fedcba9876543210", "ip-10-0-0-11.eu-central-1.compute.internal"
	cloud.Change(func(o *awslab.Options) { o.Instance, o.PrivateDNSName, o.Hostname = second, name, name })
	cloud.IMDS.Set("meta-data/instance-id", second)
	cloud.IMDS.Set("meta-data/local-hostname", name)
	n.cfg.Args = ec2Firmware("ec2fffff-3d4e-5f60-7182-93a4b5c6d7e8")
	n.start(t)
	n.expect(t, `this disk is from another machine`)
	u.waitFor("node/"+name, "create")
	u.demand(u.field("node/"+name, "{.spec.providerID}"), "aws:///eu-central-1a/"+second)
	u.demand(u.kubectl("get", "csr", "-o", "jsonpath={.items[*].spec.username}"), "system:node:"+name)
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
		qemu: ec2Firmware(ec2UUID),
	}
}

// ec2Firmware are arguments for QEMU.
func ec2Firmware(uuid string) []string {
	return []string{"-smbios", "type=1,manufacturer=Amazon EC2,product=m5.large,uuid=" + uuid, "-smbios", "type=0,vendor=Amazon EC2"}
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
