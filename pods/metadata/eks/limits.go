package eks

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"

	"kios/internal/kubeletargs"
)

// limits has a line for each set of families of machines that have the same sizes, with
// the same limits:
//
//	FAMILY FAMILY: SIZE=ENIS/IPS SIZE=ENIS/IPS
//
// It is what the network plugin itself has, the module amazon-vpc-cni-k8s: the tests of
// upstream/ekstools demand that.
//
//go:generate go run -C ../../../upstream/ekstools . limits ../../pods/metadata/eks/limits.txt
//go:embed limits.txt
var limits string

// Limits are those of a type of machine.
type Limits struct {
	ENIs int // network interfaces of the card that is there from the start
	IPs  int // IPv4 addresses of each
}

// Pods are as many as the network plugin has addresses for: each interface has one of its
// own, and two pods of the system have the node's.
func (l Limits) Pods() int { return l.ENIs*(l.IPs-1) + 2 }

// OnNode is how many pods a node of kiOS takes where that many have addresses. The smallest
// machines have fewer addresses than the node has pods of its own, which count, but need none.
func OnNode(pods int) int { return max(pods, kubeletargs.LeastPods) }

// OfType returns the limits of a type of machine, such as m5.large, and false for one
// that is newer than the table.
func OfType(instanceType string) (Limits, bool) {
	family, size, _ := strings.Cut(instanceType, ".")
	for line := range strings.Lines(limits) {
		families, sizes, _ := strings.Cut(line, ":")
		if slices.Contains(strings.Fields(families), family) {
			return ofSize(sizes, size)
		}
	}
	return Limits{}, false
}

func ofSize(sizes, size string) (Limits, bool) {
	for s := range strings.FieldsSeq(sizes) {
		if name, numbers, _ := strings.Cut(s, "="); name == size {
			enis, ips, _ := strings.Cut(numbers, "/")
			return Limits{number(enis), number(ips)}, true
		}
	}
	return Limits{}, false
}

// number is for what a test has found to be one.
func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}
