// Package provider has the table of those who give machines metadata: how each is
// recognised, where its data are, and how to get them.
//
// Nothing is probed: a service is asked only if the firmware names its cloud. The first of
// these that is there counts, alone: the kernel command line, the firmware's variables,
// strings of SMBIOS, labels of disks, the service. Labels do not count in clouds that do
// not use them, because a disk with any label may be a volume of a pod there.
//
// Under Secure Boot the command line and SMBIOS do not count: nobody has signed them.
package provider
