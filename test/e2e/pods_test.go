//go:build image

package e2e

import (
	"fmt"
	"strings"

	"kios/test/lab/machine"
)

// probe is a pod that can look at everything on its node. It stands in for the
// administrator: what it does is asked for over the kubelet's API.
var probe = machine.ProbePod("", "")

// quoted writes arguments as the elements of a YAML list.
func quoted(args []string) string {
	all := make([]string, len(args))
	for i, a := range args {
		all[i] = fmt.Sprintf("%q", a)
	}
	return strings.Join(all, ", ")
}

// pod returns the manifest of an ordinary pod of the hello image, with the
// given arguments and a writable directory of the host at /data.
func pod(name, hostPath string, args ...string) string {
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
`, name, quoted(args), hostPath)
}
