// Package eks has what all nodes of EKS need, whatever format their user data have: how
// many pods the network plugin has addresses for, and files of the node.
package eks
