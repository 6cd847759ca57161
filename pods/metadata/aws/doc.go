// Package aws is what a node needs on EC2 for as long as it runs: a token for its
// cluster, credentials for registries, and its end in good time.
//
//	cloud.go     the metadata service, and the role's credentials
//	call.go      signed requests to the APIs of EC2 and ECR
//	token.go     the token for the API server of an EKS cluster
//	name.go      the name of the node, and the interfaces of an instance type
//	ecr.go       credentials for registries, as ecr-credential-provider gives them
//	registry.go  where the API of a registry is
//	spot.go      the end of an instance that EC2 takes back
//	devices.go   the timeout that disks of EC2 need
//	run.go       all of it together
//
// It leaves out user data, and what else is asked for once: packages provider and
// nodeconfig do that. What is signed follows Signature Version 4 of AWS, by their SDK.
// Nothing here costs a node anything that does not call Open.
package aws
