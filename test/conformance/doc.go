// Package conformance runs the tests of others on a node: those of Kubernetes that
// every node must pass ([NodeConformance]), and critest, those of the Container Runtime
// Interface. Both are compiled from their modules, in upstream/conformance and
// upstream/critest, and are unchanged.
//
// The node is the real image in a virtual machine, as in package cluster: a network
// namespace has the control plane as processes, and a bridge with the machine.
// Kubernetes' tests run in that namespace; critest runs in a pod on the node.
//
// The images of the tests' pods are made here, of source and of Debian's packages: no
// registry is asked. One that the test serves is the mirror of all registries, so that
// the tests use the names that they have in them, and pulls are real ones.
//
// What is left out, and why, is in left-out.yaml. The tests carry the build tag
// conformance, need root, "make build" and "make controlplane", and take hours:
// "make conformance". docs/conformance.md is for users.
package conformance
