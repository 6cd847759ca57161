// Package netconf reads /etc/kios/network.yaml, with which a user gives
// interfaces static addresses, routes and the rest, and makes VLANs and bonds.
// It knows the file only; package network carries it out.
//
// Mistakes are found one by one: each is an error of one line that names file
// and field, and costs only the entry that it is in. Such an entry counts as
// one that asks for DHCP. A VLAN or a bond is still made if the part that
// describes it is right: DHCP on it is more likely to reach the node than DHCP
// on its members.
//
// pods/network/README.md describes the fields for users.
package netconf
