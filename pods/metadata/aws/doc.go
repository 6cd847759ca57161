// Package aws is what a node needs on EC2 for as long as it runs: a token for its
// cluster, credentials for registries, and its end in good time.
package aws
