// Package cloudconfig reads those parts of cloud-init's #cloud-config that a node without
// a shell has a use for, and names the others.
package cloudconfig
