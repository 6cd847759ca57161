// Package awslab is Amazon's cloud as a node sees it, for tests: the metadata service of
// EC2, with all its failures, and the APIs of STS, EC2 and ECR, which verify signatures.
// It runs in a network namespace with the addresses that EC2 has, for boots of the real
// image (Start), or on loopback for tests of packages (Local).
//
//	aws := awslab.Start(t, namespace, awslab.Options{Address: gateway})
//	aws.IMDS.SetUserData(nodeConfig)
//	netns.Start(t, namespace, nil, "dnsmasq", ..., awslab.DNS(gateway)...)
//	// aws.CA belongs into the node's /etc/ssl/certs
//
// It leaves out whatever nodes do not ask for, and IAM: what is denied is told by
// Options.Denied.
package awslab
