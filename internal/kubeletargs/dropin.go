package kubeletargs

import (
	"encoding/json"
	"fmt"
)

// CACert is the file whose CA signs the clients of the kubelet's port.
const CACert = etc + "/pki/ca.crt"

// Machine is what the drop-in depends on beside the files.
type Machine struct {
	Memory uint64 // bytes
	CPUs   int
	// Cert and Key are the files of the serving certificate.
	Cert, Key string
	// PanicStays says that kernel.panic is 0, by panic=0 on the command line.
	PanicStays bool
}

const mib = 1 << 20

// DropIn returns the drop-in KubeletConfiguration of this machine, in JSON. Who
// may use the kubelet's port is not in it: that depends on the kubeconfig, which
// our main of the kubelet reads.
func DropIn(m Machine) []byte {
	doc := map[string]any{
		"apiVersion":        "kubelet.config.k8s.io/v1beta1",
		"kind":              "KubeletConfiguration",
		"tlsCertFile":       m.Cert,
		"tlsPrivateKeyFile": m.Key,
		"kubeReserved":      reservedFor(m),
		"evictionHard":      evictionFor(m.Memory),
	}
	if m.PanicStays {
		// Told to protect the kernel's settings, the kubelet does not start
		// unless kernel.panic is 10. Not told so, it sets it to 10 itself, so
		// panic=0 holds for PID 1 and for the kernel until then.
		doc["protectKernelDefaults"] = false
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return append(text, '\n')
}

// reservedFor keeps for the daemons, out of what pods may ask for, about what
// cgroup.Layout keeps for them, scaled in the same way.
func reservedFor(m Machine) map[string]string {
	cpu := "100m"
	if m.CPUs < 2 {
		cpu = "50m"
	}
	return map[string]string{"cpu": cpu, "memory": mebibytes(min(m.Memory/8, 256*mib))}
}

// evictionFor has the kubelet's defaults, except that 100 MiB, which is what
// must be free by default, is most of a small machine.
func evictionFor(memory uint64) map[string]string {
	return map[string]string{
		"memory.available":   mebibytes(min(memory/16, 100*mib)),
		"nodefs.available":   "10%",
		"nodefs.inodesFree":  "5%",
		"imagefs.available":  "15%",
		"imagefs.inodesFree": "5%",
	}
}

func mebibytes(n uint64) string { return fmt.Sprintf("%dMi", n/mib) }
