// Package cluster tests nodes in clusters: it boots the real kios.efi in virtual
// machines and uses them as anybody uses a cluster, with kubectl.
//
// Most tests have an environment of their own: a network namespace with a bridge,
// the control plane as processes in it, and the nodes' machines on the bridge. A
// control plane that runs natively is ready in seconds, so each test that needs one
// of its own has it; machines are shared where a test says so. TestAllKiOS has the
// control plane on a node, too, as "kios cluster up" makes it.
//
// The tests carry the build tag cluster, need root, "make build" and "make
// controlplane", and take long: "make test-long". With -short, as "make test" runs
// them, TestNode is the only one. What a test that failed leaves behind is named in
// its output: consoles, disks, the logs of nodes and of the control plane.
package cluster
