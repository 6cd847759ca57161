package gobuild

// NodeTests are Kubernetes' end-to-end tests, for nodes of the kubelet's version.
var NodeTests = Program{
	Name:    "e2e.test",
	Dir:     conformance,
	Package: kubernetes + "/test/e2e",
	Module:  kubernetes,
	LDFlags: kubernetesVersion,
	Test:    true,
}

// CRITests are the tests of the Container Runtime Interface.
var CRITests = Program{
	Name:    "critest",
	Dir:     "upstream/critest",
	Package: "sigs.k8s.io/cri-tools/cmd/critest",
	Module:  "sigs.k8s.io/cri-tools",
	LDFlags: func(v string) string { return "-X sigs.k8s.io/cri-tools/pkg/version.Version=" + v },
	Test:    true,
}

// Ginkgo runs tests beside each other.
var Ginkgo = Program{
	Name:    "ginkgo",
	Dir:     conformance,
	Package: "github.com/onsi/ginkgo/v2/ginkgo",
	Module:  "github.com/onsi/ginkgo/v2",
}

// Agnhost and NoNewPrivs are what the pods of the tests run.
var (
	Agnhost    = testImage("agnhost")
	NoNewPrivs = testImage("nonewprivs")
)

// Conformance are all of these.
var Conformance = []Program{NodeTests, CRITests, Ginkgo, Agnhost, NoNewPrivs}

const conformance = "upstream/conformance"

func testImage(name string) Program {
	return Program{Name: name, Dir: conformance, Package: kubernetes + "/test/images/" + name, Module: kubernetes}
}
