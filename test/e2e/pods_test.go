//go:build e2e

package e2e

import (
	"fmt"
	"strings"
)

// probePod is a pod that can look at everything on its node. It stands in for
// the administrator: what it does is asked for over the kubelet's API.
const probePod = `apiVersion: v1
kind: Pod
metadata:
  name: probe
spec:
  hostNetwork: true
  hostPID: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: kios.local/probe:1
    command: ["/probe", "sleep"]
    securityContext:
      privileged: true
    volumeMounts:
    - name: host
      mountPath: /host
      mountPropagation: HostToContainer
  volumes:
  - name: host
    hostPath:
      path: /
`

// pod returns the manifest of an ordinary pod of the hello image, with the
// given arguments and a writable directory of the host at /data.
func pod(name, hostPath string, args ...string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  hostNetwork: true
  containers:
  - name: main
    image: kios.local/hello:1
    args: [%s]
    volumeMounts:
    - name: data
      mountPath: /data
  volumes:
  - name: data
    hostPath:
      path: %s
      type: DirectoryOrCreate
`, name, strings.Join(quoted, ", "), hostPath)
}
