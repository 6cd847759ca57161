// Package vm runs unit tests that need root and a machine of their own: those
// in files with the build tag guest. It compiles the test binary of every
// package that has such files, packs them with test/guest/gotest into an
// initramfs, boots that with our kernel, and reports each package as a subtest.
//
// Only the tests in tagged files run there; all others are "make check". The
// guest has /proc, /sys, /dev, cgroup v2 and tmpfs on /tmp and /run, an empty
// disk of 64 MiB at /dev/vda, discs and a disk such as clouds give data on, and no
// network card. A package's testdata is beside its tests, as usual.
//
// The package also runs the tests of pods/disk that need root, on our kernel, and
// tests package qemu itself, with a kernel that panics.
//
//	make test-vm                                # all tests with the tag vm
//	go test -tags vm ./test/vm -run TestInGuest
package vm
