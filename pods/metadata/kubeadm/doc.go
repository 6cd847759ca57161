// Package kubeadm does what kubeadm join does on a worker: it reads a JoinConfiguration,
// and asks the API server for what the node needs. Package place makes the files of it.
//
// What kubeadm does beside that, it leaves out: checks before the join, patches, control
// planes. It follows
// https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/.
package kubeadm
