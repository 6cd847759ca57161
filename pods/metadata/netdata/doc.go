// Package netdata turns the descriptions that clouds have of a machine's network into
// network.yaml.
package netdata
