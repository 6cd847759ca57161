// Package nodeconfig reads the NodeConfig of EKS (node.eks.aws/v1alpha1), and makes what
// its own reader makes of it: a kubelet that fits the machine and the cluster.
package nodeconfig
