//go:build cluster

package podnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab/netns"
)

// pod is a network namespace that the CNI plugins of a node attach to the pod
// network, as containerd does it.
type pod struct {
	node      *node
	namespace string
	ports     []port
	address   netip.Addr
}

// port is one of the host that leads to the pod, with the names that CNI has.
type port struct {
	Host      int    `json:"hostPort"`
	Container int    `json:"containerPort"`
	Protocol  string `json:"protocol"`
}

func (n *node) pod(name string, ports ...port) *pod {
	n.t.Helper()
	p := &pod{node: n, namespace: addNamespace(n.t, name), ports: ports}
	result, err := p.call("ADD")
	if err != nil {
		n.t.Fatalf("attach pod %s: %v", name, err)
	}
	var got struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(result, &got); err != nil || len(got.IPs) != 1 {
		n.t.Fatalf("attach pod %s = %s, %v, want one address", name, result, err)
	}
	p.address = got.IPs[0].Address.Addr()
	return p
}

// detach takes the pod off the network.
func (p *pod) detach() {
	p.node.t.Helper()
	if _, err := p.call("DEL"); err != nil {
		p.node.t.Fatalf("detach pod %s: %v", p.namespace, err)
	}
}

// call runs the plugins of the node's configuration one after the other, the
// last one first to detach (CNI specification, section 3).
func (p *pod) call(command string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(p.node.etc(), "10-flannel.conflist"))
	if err != nil {
		return nil, err
	}
	var list struct {
		CNIVersion, Name string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	var result []byte
	for i := range list.Plugins {
		plugin := list.Plugins[i]
		if command == "DEL" {
			plugin = list.Plugins[len(list.Plugins)-1-i]
		}
		plugin["cniVersion"], plugin["name"] = list.CNIVersion, list.Name
		if _, capable := plugin["capabilities"]; capable {
			plugin["runtimeConfig"] = map[string]any{"portMappings": p.ports}
		}
		if result != nil {
			plugin["prevResult"] = json.RawMessage(result)
		}
		if result, err = p.run(command, plugin); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (p *pod) run(command string, plugin map[string]any) ([]byte, error) {
	input, err := json.Marshal(plugin)
	if err != nil {
		return nil, err
	}
	bin := p.node.bin()
	cmd := exec.Command("ip", "netns", "exec", p.node.namespace, filepath.Join(bin, plugin["type"].(string)))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":" + bin, // as PID 1 tells containerd
		"CNI_COMMAND=" + command, "CNI_PATH=" + bin, "CNI_IFNAME=eth0",
		"CNI_CONTAINERID=" + p.namespace, "CNI_NETNS=/run/netns/" + p.namespace,
	}
	cmd.Stdin = bytes.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s%s", plugin["type"], command, err, out, stderr.String())
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func addNamespace(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("kios-%d-%s", os.Getpid(), name)
	netns.Add(t, name)
	return name
}
