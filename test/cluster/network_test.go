//go:build cluster

package cluster

import (
	"fmt"
	"strings"
)

// testSpread runs a Deployment of three pods, which the scheduler is to spread,
// and reaches each of them through a Service.
func testSpread(u *user) {
	u.apply(deployment("web", 3, `
      containers:
      - name: main
        image: kios.local/workload:1
        args: [serve]
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
`))
	u.apply(service("web"))
	u.apply(clientPod("client", "worker-1"))
	u.waitFor("deployment/web", "condition=Available")
	u.eventually("three ready pods", func() error {
		if got := u.field("deployment/web", "{.status.readyReplicas}"); got != "3" {
			return fmt.Errorf("%s are ready", got)
		}
		return nil
	})
	nodes := u.field("pods", `{.items[?(@.metadata.labels.app=="web")].spec.nodeName}`)
	u.demand(nodes, "worker-1", "worker-2")

	u.ready("client")
	seen := map[string]bool{}
	u.eventually("an answer of each pod", func() error {
		answer, err := u.tryExec("client", "get", "http://web")
		if err != nil {
			return err
		}
		seen[answer] = true
		if len(seen) < 3 {
			return fmt.Errorf("answers came from %v", seen)
		}
		return nil
	})
}

// testServiceByName calls pods on each node from the other one, by the long name
// and by the short one, and looks up a name from outside of the cluster.
func testServiceByName(u *user) {
	for _, node := range []string{"worker-1", "worker-2"} {
		u.apply(serverPod("server-"+node, node))
		u.apply(service("server-" + node))
		u.apply(clientPod("client-"+node, node))
	}
	u.ready("server-worker-1", "server-worker-2", "client-worker-1", "client-worker-2")
	for from, to := range map[string]string{"worker-1": "worker-2", "worker-2": "worker-1"} {
		for _, name := range []string{"server-" + to, "server-" + to + "." + u.namespace + ".svc.cluster.local"} {
			u.eventually("a call from "+from+" to "+name, func() error {
				answer, err := u.tryExec("client-"+from, "get", "http://"+name)
				if err == nil && answer != "server-"+to+"\n" {
					err = fmt.Errorf("the answer is %q", answer)
				}
				return err
			})
		}
	}
	u.eventually("the API server's name", func() error {
		addresses, err := u.tryExec("client-worker-1", "lookup", "kubernetes.default")
		if err == nil && addresses != "10.96.0.1\n" {
			err = fmt.Errorf("it is %q", addresses)
		}
		return err
	})
	u.eventually("a name from outside", func() error {
		addresses, err := u.tryExec("client-worker-1", "lookup", "www.outside.example")
		if err == nil && strings.TrimSpace(addresses) != gateway {
			err = fmt.Errorf("it is %q", addresses)
		}
		return err
	})
}

// service makes a Service at port 80 for the pods with the label app: NAME.
func service(name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  selector: {app: %[1]s}
  ports: [{port: 80, targetPort: 8080}]
`, name)
}

// serverPod answers HTTP at port 8080 with its name.
func serverPod(name, node string) string {
	return pod(name, node, `
  containers:
  - name: main
    image: kios.local/workload:1
    args: [serve]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 2}
`)
}

// clientPod does nothing, and commands can be run in it.
func clientPod(name, node string) string {
	return pod(name, node, `
  containers: [{name: main, image: "kios.local/workload:1"}]
`)
}

// pod makes a pod with the label app: NAME on a node, or on any if that is "".
func pod(name, node, spec string) string {
	if node != "" {
		node = "\n  nodeSelector: {kubernetes.io/hostname: " + node + "}"
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  terminationGracePeriodSeconds: 2%[2]s
%[3]s`, name, node, strings.TrimPrefix(spec, "\n"))
}
