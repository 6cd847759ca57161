# Two targets matter: "make run" and "make test". "make help" lists all, and HACKING.md
# explains them.
export CGO_ENABLED ?= 0
# The build's flags, so that vet and tests use its compiled packages again.
export GOFLAGS ?= -trimpath -gcflags=all=-dwarf=false
KIOS := _out/kios

# The architecture that is built and tested: this machine's, unless ARCH is another one.
# Tests look at KIOS_ARCH.
HOST := $(shell go env GOHOSTARCH)
ARCH := $(HOST)
export KIOS_ARCH := $(ARCH)
FOREIGN := $(filter-out $(HOST),$(ARCH))
OTHERS := $(filter-out $(HOST),amd64 arm64)

# The build tags of tests that need more than a compiler; see HACKING.md, Test.
TAGS := cluster,conformance,guest,image,root,vm
# "quick" runs all of vet; each test would run a part of it again, over all that it imports.
TEST := go test -vet=off
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The folders with code, and the Go modules that are ours alone. Those in upstream/
# are compiled like the programs of others that they are made for: see test/upstream.
rooms := $(filter-out _out/,$(wildcard */))
modules := $(shell find . -name go.mod -not -path './upstream/*' -not -path './_out/*' -printf '%h ')
# A go command in each of these modules.
in_modules = set -e; for module in $(modules); do go -C $$module $(1); done
# The packages with tests that have a tag.
tagged = $(addprefix ./,$(sort $(dir $(shell grep -rlxE --include='*_test.go' '//go:build $(1)' $(filter-out upstream/,$(rooms))))))
# The pod network and the control plane's own tests are this machine's, whatever nodes are.
cluster_tests = $(if $(FOREIGN),./test/cluster,$(call tagged,cluster))

.PHONY: help run test quick quick-arch check upstream upstream-quick build build-host this-machine test-root test-vm test-image test-cluster test-long conformance \
	controlplane reproduce bench skew deps deps-test deps-arch kios

run: build ## build a node, boot it in a virtual machine, show its pod running
	$(KIOS) run --arch $(ARCH)

# In this order: cheap before expensive, and the last lines are go test's own. What is of
# no architecture, or runs on this machine's kernel, is tested with its own. Some tests of
# quick are left out without a compiler for the other architectures.
test: $(if $(FOREIGN),build-host,deps-arch quick quick-arch) build $(if $(FOREIGN),,upstream-quick) ## what each change must pass; check and test-long take longer and have more; ARCH=arm64 tests that one
	$(KIOS) inspect _out/$(ARCH)/kios.efi
	$(KIOS) reproduce --arch $(ARCH)
	$(MAKE) $(if $(FOREIGN),,test-root) test-vm test-image test-cluster

help: ## this list
	@sed -nE 's/^([a-z-]+):.* ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

check: quick upstream ## all checks that need no root and no virtual machine

quick: deps-test ## format, vet, staticcheck and unit tests of what is ours alone
	@test -z "$$(gofmt -l $(rooms))" || { gofmt -d $(rooms); exit 1; }
	$(call in_modules,vet -tags $(TAGS) ./...)
	$(call in_modules,run $(STATICCHECK) -tags $(TAGS) ./...)
	# the race detector would have each program wait for a second at its end
	export CGO_ENABLED=1 GORACE=atexit_sleep_ms=0; $(call in_modules,test -vet=off -race ./...)

quick-arch: deps-arch ## vet and compile for the other architectures, without their processors, and configure their kernels
	for arch in $(OTHERS); do export GOARCH=$$arch; $(call in_modules,vet -tags $(TAGS) ./...); $(call in_modules,build ./...); done
	go run ./test/arch

upstream: deps-test ## the same for what is ours in the upstream programs, which it compiles
	go run ./test/upstream $(STATICCHECK)

upstream-quick: deps-test ## upstream without vet and staticcheck of what imports all of Kubernetes
	go run ./test/upstream -quick $(STATICCHECK)

build: deps ## _out/amd64/kios.efi, or that of ARCH=arm64
	$(KIOS) build --arch $(ARCH)

# Nodes of two architectures are in one cluster.
build-host: deps-test
	$(KIOS) deps --arch $(HOST)
	$(KIOS) build --arch $(HOST)

# These wait more than they work, so four at a time; and without cgo, since all
# threads of some drop privileges.
test-root: ## needs root and a build: network namespaces, loop devices, a system bus
	CGO_ENABLED=0 $(TEST) -count=1 -p 4 -tags root $(call tagged,root)

# One package after the other, since each has machines.
test-vm: ## needs a build: our kernel in small machines, with unit tests as root in them
	$(TEST) -count=1 -p 1 -tags vm -timeout 40m -v $(call tagged,vm)

# Those that call t.Parallel wait more than they work.
test-image: ## needs root and a build: boots of the real image
	$(TEST) -count=1 -p 1 -tags image -short -timeout 60m -parallel 3 -v $(call tagged,image)

test-cluster: controlplane ## needs root and a build: the control plane, the pod network, a node that joins
	$(TEST) -count=1 -p 1 -tags cluster -short -timeout $(if $(FOREIGN),60m,20m) -v $(cluster_tests)

test-long: $(if $(FOREIGN),build-host) build controlplane ## needs root: all that nodes do in clusters, machines with other hardware and other sources of user data, an hour and three quarters
	$(TEST) -count=1 -p 1 -tags image -timeout 90m -v -run '^Test(Hardware|UserData)' ./test/e2e
	$(TEST) -count=1 -p 1 -tags cluster -timeout 180m -v $(cluster_tests)

conformance: $(if $(FOREIGN),this-machine) build controlplane ## needs root: the conformance tests of Kubernetes and of CRI on a node, 40 minutes; FOCUS=... runs some
	$(TEST) -count=1 -tags conformance -timeout 12h -v ./test/conformance $(if $(FOCUS),-run TestConformance -args -focus '$(FOCUS)')

this-machine:
	@echo "make conformance is for nodes of $(HOST) only: the images of its tests are made of this machine's programs" >&2; false

controlplane: kios ## the programs and images of a cluster: control plane and add-ons
	$(KIOS) cluster build
	$(if $(FOREIGN),$(KIOS) cluster build --arch $(ARCH))

reproduce: build ## build everything twice, in two directories, and compare
	$(KIOS) reproduce --from-scratch --arch $(ARCH)

skew: kios ## is the kubelet two minor versions behind the newest Kubernetes?
	$(KIOS) skew

bench: deps-test build ## the figures of docs/benchmarks.md
	$(KIOS) bench --arch $(ARCH)

deps: kios ## the programs that the build needs, from Debian
	@$(KIOS) deps --arch $(ARCH)

deps-test: kios ## these, and the programs that tests need
	@$(KIOS) deps --test --arch $(ARCH)

deps-arch: kios ## compilers for the other architectures
	@set -e; for arch in $(OTHERS); do $(KIOS) deps --arch $$arch --compile-only; done

kios: ## _out/kios, the host command
	@mkdir -p _out && go build -o $(KIOS) ./host/kios
