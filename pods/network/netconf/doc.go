// Package netconf reads /etc/kios/network.yaml, with which a user gives
// interfaces static addresses, routes and the rest, and makes VLANs and bonds.
// It knows the file only; package network carries it out.
//
// Mistakes are found one by one: each is an error of one line that names file
// and field, and costs only the part that it is in. The rest of the entry counts,
// and the interface uses DHCP in addition, because what is missing may have been the
// way to it. A VLAN or a bond is made if the part that describes it is right.
//
// pods/network/README.md describes the fields for users.
package netconf
