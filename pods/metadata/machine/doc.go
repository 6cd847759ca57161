// Package machine tells what the machine itself says of what it is: its DMI fields,
// strings of SMBIOS, variables of UEFI, the kernel command line, and disks by their labels.
//
// Everything is read with bounds: the firmware and the hypervisor are trusted to say who
// the machine is, but a disk may be damaged, or be another's.
package machine
