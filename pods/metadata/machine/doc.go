// Package machine tells what the machine itself says of what it is: its DMI fields,
// strings of SMBIOS, variables of UEFI, the kernel command line, and disks by their labels.
package machine
