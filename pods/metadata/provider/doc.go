// Package provider has the table of those who give machines metadata: how each is
// recognised, where its data are, and how to get them.
package provider
