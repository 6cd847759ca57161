// Package metadata is the pod of that name: it asks who gave life to this machine (a cloud,
// a hypervisor, Cluster API, a person with a USB stick) what the machine is and what it is
// to be, and makes the node's files of the answer.
package metadata
