// Package podnet tests the pod network of a cluster, that is flannel, the CNI
// plugins, kube-proxy and CoreDNS, as they are in the images and as the add-ons'
// manifests configure them, in network namespaces that stand for nodes and pods.
// What that leaves out, pods that a kubelet starts on real nodes, is tested by
// test/cluster.
//
// The tests carry the build tag cluster, and need root, iproute2, and "make
// controlplane": "make test-cluster".
package podnet
