// Package kubeadm does what kubeadm join does on a worker: it reads a JoinConfiguration,
// asks the API server for what the node needs, and makes the node's files of it.
package kubeadm
