package nodeconfig

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

// kubelet makes the kubelet's configuration, with nodeadm's own formulas: who counts on a
// node of EKS, as Karpenter does, computes with them. Feature gates that nodeadm sets have
// these values in this kubelet anyway.
func (c *Collector) kubelet(dns netip.Addr, m *want.Machine, n *want.Node) {
	pods := c.maxPods(m, n)
	fields := map[string]any{
		"clusterDNS":         []any{dns.String()},
		"clusterDomain":      "cluster.local",
		"serverTLSBootstrap": true,  // EKS signs these certificates, and no others
		"rotateCertificates": false, // the node has a token, which package aws renews
		"maxPods":            eks.OnNode(pods),
		"kubeReserved": map[string]any{
			"cpu":               fmt.Sprintf("%dm", reservedCPU(c.processors())),
			"memory":            fmt.Sprintf("%dMi", 11*pods+255),
			"ephemeral-storage": "1Gi",
		},
		"evictionHard": map[string]any{
			"memory.available":  "100Mi",
			"nodefs.available":  "10%",
			"nodefs.inodesFree": "5%",
		},
		// Spot machines have two minutes, and others more.
		"shutdownGracePeriod":             "2m30s",
		"shutdownGracePeriodCriticalPods": "30s",
	}
	if m.ProviderID != "" {
		fields["providerID"] = m.ProviderID
	}
	fields = want.Overlay(fields, c.spec.Kubelet.Config)
	delete(fields, "apiVersion") // whoever writes the file knows them
	delete(fields, "kind")
	n.Kubelet = want.Overlay(n.Kubelet, fields)
	dropNulls(n.Kubelet)
}

// maxPods are the pods that the machine has addresses for, or what the expression makes of
// them. The reserve follows from it, also if kubelet.config has other maxPods.
func (c *Collector) maxPods(m *want.Machine, n *want.Node) int {
	limits, known := eks.OfType(m.Type)
	if !known && c.TypeInfo != nil {
		var err error
		if limits, err = c.TypeInfo(m.Type); err != nil {
			n.Skip("the kubelet has %d pods at most: %v", eks.DefaultPods, err)
		}
		known = err == nil && limits.ENIs > 0 && limits.IPs > 0
	}
	if !known {
		return eks.DefaultPods
	}
	return c.spec.Kubelet.expression(limits, n)
}

func (k *kubelet) expression(l eks.Limits, n *want.Node) int {
	if k.MaxPodsExpression == "" {
		return l.Pods()
	}
	pods, err := evaluate(k.MaxPodsExpression, map[string]int64{"default_enis": int64(l.ENIs), "ips_per_eni": int64(l.IPs), "max_pods": int64(l.Pods())})
	if err == nil && (pods < 1 || pods > math.MaxInt32) {
		err = fmt.Errorf("%d is no number of pods", pods)
	}
	if err != nil {
		n.Skip("NodeConfig: kubelet.maxPodsExpression is not used: %v: maxPods is %d", err, l.Pods())
		return l.Pods()
	}
	if int(pods) < eks.OnNode(int(pods)) {
		n.Skip("NodeConfig: kubelet.maxPodsExpression makes %d: maxPods is %d, as the node's own pods count", pods, eks.OnNode(int(pods)))
	}
	return int(pods)
}

// reservedCPU returns thousandths of a processor: 6 % of the first one, 1 % of the second,
// 0.5 % of two more, and 0.25 % of the others.
func reservedCPU(processors int) int {
	reserved, from := 0, 0
	for _, part := range []struct{ to, perTenThousand int }{{1, 600}, {2, 100}, {4, 50}, {math.MaxInt, 25}} {
		to := min(processors, part.to)
		reserved += max(to-from, 0) * 1000 * part.perTenThousand / 10000
		from = part.to
	}
	return reserved
}

// processors counts those of the machine, also if this program may use some only.
func (c *Collector) processors() int {
	text, err := os.ReadFile(filepath.Join("/", c.Root, "sys/devices/system/cpu/online"))
	if n := countRanges(strings.TrimSpace(string(text))); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// countRanges counts the numbers of a list such as 0-3,6. It returns 0 for anything else.
func countRanges(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, found := strings.Cut(part, "-")
		if !found {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || to < from {
			return 0
		}
		n += int(to-from) + 1
	}
	return n
}
