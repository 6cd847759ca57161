// Command ekstools writes the table of limits in pods/metadata/eks, from what the network
// plugin of EKS has, and the expressions in pods/metadata/nodeconfig/testdata, with what
// CEL makes of them. The tests of this module demand that both are as it would write them.
//
//	go run . limits FILE
//	go run . expressions FILE
package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/amazon-vpc-cni-k8s/pkg/vpc"
)

// products are the texts that this program makes.
var products = map[string]func() (string, error){"limits": table, "expressions": expressions}

func main() {
	if len(os.Args) != 3 || products[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: go run . limits|expressions FILE")
		os.Exit(2)
	}
	text, err := products[os.Args[1]]()
	if err == nil {
		err = os.WriteFile(os.Args[2], []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ekstools:", err)
		os.Exit(1)
	}
}

// table has a line for each set of families that have the same sizes with the same
// limits; see pods/metadata/eks.
func table() (string, error) {
	types, err := instanceTypes()
	if err != nil {
		return "", err
	}
	sizes := map[string][]string{} // by family
	for _, name := range types {
		family, size, _ := strings.Cut(name, ".")
		limits, err := limitsOf(name)
		if err != nil {
			return "", err
		}
		sizes[family] = append(sizes[family], size+"="+limits)
	}
	families := map[string][]string{} // by sizes
	for _, family := range slices.Sorted(maps.Keys(sizes)) {
		key := strings.Join(sizes[family], " ")
		families[key] = append(families[key], family)
	}
	var lines []string
	for sizes, families := range families {
		lines = append(lines, strings.Join(families, " ")+": "+sizes+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// limitsOf returns ENIS/IPS of a type, where the ENIs are those of the network card that
// machines have from the start.
func limitsOf(name string) (string, error) {
	limits, _ := vpc.GetInstance(name)
	for _, card := range limits.NetworkCards {
		if card.NetworkCardIndex == int64(limits.DefaultNetworkCardIndex) {
			return fmt.Sprintf("%d/%d", card.MaximumNetworkInterfaces, limits.IPv4Limit), nil
		}
	}
	return "", fmt.Errorf("%s has no network card %d", name, limits.DefaultNetworkCardIndex)
}

var entry = regexp.MustCompile(`(?m)^\t"([a-z0-9-]+\.[a-z0-9-]+)": +\{$`)

// instanceTypes returns the names in the plugin's source, since its package has no list
// of them.
func instanceTypes() ([]string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/amazon-vpc-cni-k8s").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "pkg/vpc/vpc_ip_resource_limit.go"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range entry.FindAllSubmatch(source, -1) {
		names = append(names, string(m[1]))
	}
	slices.Sort(names)
	return names, nil
}
