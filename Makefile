# Two targets matter: "make run" and "make test". HACKING.md explains the rest.
export CGO_ENABLED ?= 0
# The build's flags, so that vet and tests use its compiled packages again.
export GOFLAGS ?= -trimpath -gcflags=all=-dwarf=false
KIOS := _out/kios
# The tags of all tests that need more than a compiler.
TESTS := cluster,e2e,netns,root,vm,vmtest
# "check" runs all of vet; each test would run a part of it again, over all that it imports.
TEST := go test -vet=off
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: run test check build upstreamtest vetupstream vmtest cluster e2e clustertest test-cluster reproduce bench skew deps kios

run: build ## build a node, boot it in a virtual machine, show its pod running
	$(KIOS) run

# In this order: cheap before expensive, and the last lines are go test's own.
test: check build ## everything that checks the project
	$(KIOS) inspect _out/amd64/kios.efi
	$(KIOS) reproduce
	$(MAKE) upstreamtest vmtest e2e clustertest

check: deps ## no root, no virtual machine: format, vet, staticcheck, unit tests
	@test -z "$$(gofmt -l host init internal pods test upstream)" || { gofmt -d host init internal pods test upstream; exit 1; }
	go vet -tags $(TESTS) ./...
	go run $(STATICCHECK) -tags $(TESTS) ./...
	# the race detector would have each program wait for a second at its end
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(TEST) -race ./...

build: deps ## _out/amd64/kios.efi
	$(KIOS) build

# As in host/gobuild: on two processors two compilers of one thread each.
ifeq ($(shell nproc),2)
upstream_go := GOMAXPROCS=1 GOFLAGS="$(GOFLAGS) -p=2" go
else
upstream_go := go
endif

# A go command in each of the upstream modules with code of ours, with the build's own
# tags, so that its compiled packages are used again.
define upstream
	cd upstream/containerd && $(upstream_go) $(1) -tags urfave_cli_no_docs,no_tracing,grpcnotrace ./...
	cd upstream/kubelet && $(upstream_go) $(1) -tags selinux,notest,grpcnotrace ./...
	cd upstream/controlplane && $(upstream_go) $(1) -tags selinux,notest,grpcnotrace ./...
	cd upstream/flannel && $(upstream_go) $(1) ./...
	cd upstream/cni && $(upstream_go) $(1) ./nft
endef

upstreamtest: ## tests of our mains and plugins around the upstream programs
	$(call upstream,test -vet=off)

# Not with their tests: it looks at every package of Kubernetes first.
vetupstream: ## vet of our mains and plugins around the upstream programs
	$(call upstream,vet)

clustertest: cluster ## a control plane and the pod network in network namespaces; a node joins, runs a pod and is drained
	$(TEST) -count=1 -tags netns ./test/controlplane ./test/podnet
	$(TEST) -count=1 -tags cluster -timeout 20m -v -run '^TestNode$$' ./test/cluster

test-cluster: build cluster vetupstream ## all that nodes do in clusters: an hour and a half
	$(TEST) -count=1 -tags cluster -timeout 180m -v ./test/cluster

cluster: kios ## the control plane and the add-ons
	$(KIOS) cluster build

# The last ones wait more than they work, so four at a time, the longest first; and
# without cgo, since all threads of some drop privileges.
vmtest: ## unit tests that need root: in small machines, in network namespaces, on loop devices
	$(TEST) -count=1 -tags vm -timeout 20m -v ./test/vm
	$(TEST) -count=1 -tags vm -timeout 20m ./pods/disk ./host/qemu
	CGO_ENABLED=0 $(TEST) -count=1 -p 4 -tags root,netns ./pods/time ./pods/disk ./pods/network ./pods/network/dhcp6 ./pods/network/ndisc ./init/systembus

# Those that call t.Parallel wait more than they work.
e2e: ## boots of the real thing
	$(TEST) -count=1 -tags e2e -timeout 60m -parallel 3 -v ./test/e2e

reproduce: build ## build everything twice, in two directories, and compare
	$(KIOS) reproduce --from-scratch

skew: kios ## is the kubelet two minor versions behind the newest Kubernetes?
	$(KIOS) skew

bench: build ## the figures of docs/benchmarks.md
	$(KIOS) bench

deps: kios
	@$(KIOS) deps

kios:
	@mkdir -p _out && go build -o $(KIOS) ./host/kios
