// Package netdata turns the descriptions that clouds have of a machine's network into
// network.yaml: cloud-init's network-config, version 1 and 2, OpenStack's
// network_data.json, and the interfaces in DigitalOcean's v1.json.
//
// It follows docs.cloud-init.io/en/latest/reference/network-config.html, the schema of
// network_data.json in OpenStack Nova, and docs.digitalocean.com/reference/api/metadata.
// What network.yaml cannot say, such as bridges, wireless networks and new names for
// interfaces, is named and left out. Package netconf, which reads the file on the node,
// has the last word on each field.
package netdata
