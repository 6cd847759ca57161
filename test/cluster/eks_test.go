//go:build cluster

package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

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
	u.apply(pulled("private", cloud.Registry()))
	u.ready("private")
	cloud.IMDS.Interrupt("terminate", time.Now().Add(2*time.Minute))
	n.expect(t, `stopping, as a pod \(spot-terminate\) asks`)
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(time.Minute))
	defer cancel()
	if end, err := n.Wait(ctx); err != nil || end != qemu.PoweredOff {
		t.Fatalf("the machine has %s, want powered off: %v", end, err)
	}
}

// services6 is the range of a cluster of IPv6.
const services6 = "fd00:10:96::/108"

// TestEKSOverIPv6 boots a machine of EC2 that has IPv6 only, in a cluster of IPv6: so are
// the metadata service, the APIs, the registry and the API server.
func TestEKSOverIPv6(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e, cloud := newEKS(t, awslab.Options{IPv6: nodeAddress6(1)})
	cloud.IMDS.SetUserData(e.nodeConfig(strings.Replace(karpenterUserData, "10.96.0.0/12", services6, 1)))
	machine := ec2Machine(cloud)
	machine.qemu = append(machine.qemu, secondCard(cloud)...)
	n := e.boot(machine)
	n.name = cloud.Options().PrivateDNSName
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.kubectl("taint", "node", n.name, uninitialized+"-", "karpenter.sh/unregistered-")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.demand(u.field("node/"+n.name, "{.status.addresses}"), `"address":"`+nodeAddress6(1)+`","type":"InternalIP"`)
	u.apply(pulled("private", cloud.Registry()))
	u.ready("private")
	// Through the kubelet's port.
	u.demand(u.kubectl("get", "--raw", "/api/v1/nodes/"+n.name+"/proxy/configz"), `"clusterDNS":["fd00:10:96::a"]`)
	u.demand(u.exec("private", "cat", "/etc/resolv.conf"), "nameserver "+gateway6)
	if got := cloud.IMDS.Asked("/latest/meta-data/network/interfaces/macs/" + nodeMAC(1) + "/ipv6s"); got == 0 {
		t.Error("the metadata service was not asked for the address")
	}
	if got := n.probe(t, "cat", "/proc/net/fib_trie"); strings.Contains(got, "10.0.2.") {
		t.Errorf("the second card, which is the network plugin's, has an address:\n%s", got)
	}
	n.powerOff(t)
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
	return fmt.Appendf(nil, format, e.cluster.Endpoint(), base64.StdEncoding.EncodeToString([]byte(e.ca)))
}

// ec2Machine is one that its firmware says is EC2's.
func ec2Machine(cloud *awslab.Lab) setup {
	return setup{
		name: "ec2", cloud: true, memory: 768, etc: ec2Etc(cloud),
		qemu: ec2Firmware(ec2UUID),
	}
}

// secondCard is one that the VPC CNI has attached: a DHCP server offers it an address.
func secondCard(cloud *awslab.Lab) []string {
	const mac = "52:54:00:4b:06:a2"
	cloud.IMDS.AddInterface(mac, map[string]string{"device-number": "1", "network-card": "0", "local-ipv4s": "10.0.2.15\n10.0.2.16"})
	return []string{"-netdev", "user,id=second,restrict=on", "-device", "virtio-net-pci,netdev=second,mac=" + mac}
}

// ec2Firmware are arguments for QEMU.
func ec2Firmware(uuid string) []string {
	return []string{"-smbios", "type=1,manufacturer=Amazon EC2,product=m5.large,uuid=" + uuid, "-smbios", "type=0,vendor=Amazon EC2"}
}

// newEKS makes a cluster whose nodes are known by their role in AWS.
func newEKS(t *testing.T, o awslab.Options) (*env, *awslab.Lab) {
	t.Helper()
	o.Registry = images(t)
	o.Instance, o.MAC = ec2Instance, nodeMAC(1)
	cfg := clusterconfig.Config{}
	var flags []string
	if o.IPv6 == "" {
		o.Address, o.IPv4 = gateway, nodeAddress(1)
	} else {
		o.Address, cfg.Endpoint = gateway6, "["+gateway6+"]:6443"
		flags = append(flags, "--service-cluster-ip-range="+services6)
	}
	e := envOn(t, newest(t), o.Address)
	cloud := awslab.Start(t, e.name, o)
	webhook, _ := cloud.Authenticator(t, e.name, "example", "system:node:{{EC2PrivateDNSName}}")
	lab.Eventually(t, time.Minute, "the authenticator", func() error { _, err := os.Stat(webhook); return err })
	e.startControlPlane(cfg, append(flags, "--authentication-token-webhook-config-file="+webhook)...)
	return e, cloud
}

// ec2Etc is what a user of kiOS adds for a cloud of tests: its authority.
func ec2Etc(cloud *awslab.Lab) map[string]string {
	return with(noNetwork, map[string]string{"ssl/certs/aws.pem": string(cloud.CA)})
}
