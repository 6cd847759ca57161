// Package e2e boots the real kios.efi in virtual machines and looks at the
// nodes from outside: through the kubelet's own API, over mutual TLS, and
// through a probe pod that reads the host.
//
// The tests carry the build tag image, need root and "make build", and take
// minutes: "make test-image". Each test has a machine of its own, except where a test
// says that it shares one. Nothing leaves the machine: QEMU's network is
// restricted, and only loopback ports are forwarded.
package e2e
