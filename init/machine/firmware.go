package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/smbios"
)

// Of the structure "BIOS Information" (7.1 in the specification of SMBIOS): a bit in the
// second of the bytes that extend its characteristics.
const (
	typeBIOS       = 0
	extension2     = 0x13
	virtualMachine = 1 << 4
)

// hypervisors are how names of products begin that are virtual machines, for firmware that
// does not set the bit. That of QEMU sets it, which most clouds have, and that of EC2, whose
// servers without a hypervisor have the same maker.
var hypervisors = []string{
	"Apple Virtualization", "Google Compute Engine", "KVM", "OpenStack", "Parallels", "QEMU", "VMware", "VirtualBox",
	"Virtual Machine", // Hyper-V and Azure
}

// firmwareOfVM reports whether the firmware says that a hypervisor runs the machine.
func firmwareOfVM(sys string) bool {
	tables, _ := smbios.Read(sys) // without any, there is nothing that says so
	for s := range smbios.Structures(tables) {
		if s.Type == typeBIOS && len(s.Fields) > extension2 && s.Fields[extension2]&virtualMachine != 0 {
			return true
		}
	}
	product, _ := os.ReadFile(filepath.Join(sys, "class/dmi/id/product_name"))
	return slices.ContainsFunc(hypervisors, func(name string) bool {
		return strings.HasPrefix(string(product), name)
	})
}
