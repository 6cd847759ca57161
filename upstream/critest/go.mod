// critest, the conformance tests of the Container Runtime Interface, for "make conformance".
module kios/upstream/critest

go 1.26.6

tool sigs.k8s.io/cri-tools/cmd/critest

require sigs.k8s.io/cri-tools v1.37.0 // indirect
