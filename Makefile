# airgap: the build, the tests, the demo. `make` lists the targets.
# Needs Debian 12 or later, Go (the version in go.mod), and root for what `deps` installs.

SHELL         := /bin/bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

HOST_ARCH  := $(shell dpkg --print-architecture)
ARCH       ?= $(HOST_ARCH)
VERSION    ?= 0.1.0
AIRGAP_KEY ?= dist/development.key
ZSTD_LEVEL ?= 19
# AIRGAP_KEY signs dist/system.airgap; the development key is made at its first use, COSIGN_PASSWORD is its password.
# ZSTD_LEVEL is that of the payload: 3 packs in three seconds rather than two minutes, 30 % larger.

# What is built for another architecture stands beside what is built for this one.
ifeq ($(ARCH),$(HOST_ARCH))
B      := build
BIN    := bin/airgap
SYSTEM := dist/system.airgap
else
B      := build/$(ARCH)
BIN    := bin/airgap-$(ARCH)
SYSTEM := dist/system-$(ARCH).airgap
endif

# Every Go command has the same flags, or one would not find in the cache what another built.
TAGS := netgo,osusergo,seccomp,static_build,sqlite_omit_load_extension,no_btrfs,no_devmapper,no_zfs,no_aufs,grpcnotrace,providerless
export GOFLAGS         := -trimpath -buildvcs=false -tags=$(TAGS)
export CGO_ENABLED     := 1
export LC_ALL          := C.UTF-8
export COSIGN_PASSWORD ?=

# With the tag "desk" airgap is built without the node: nothing links Kubernetes then.
DESK  := -tags=$(TAGS),desk
LIGHT  = $(shell go list $(DESK) -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep -v ' k8s.io/kubernetes/' | cut -d' ' -f1 | grep -v '^airgap/test/')
HEAVY  = $(shell go list -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep ' k8s.io/kubernetes/' | cut -d' ' -f1 | grep -v '^airgap/test/')

##@ Targets

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: deps root ## bin/airgap, the self-extracting executable (the first time 16 minutes on two cores)
	@{ find $(B)/root \( -type f -o -type l \) -print0 | sort -z | xargs -0 sha256sum; \
	   sha256sum $(B)/launcher; echo "zstd $(ZSTD_LEVEL)"; } > $(B)/contents.new
	@cmp -s $(B)/contents.new $(B)/contents || mv $(B)/contents.new $(B)/contents
	@$(MAKE) --no-print-directory $(BIN)

images: deps $(B)/images/index.json ## build/images, the system images as an OCI layout

system: build images $(AIRGAP_KEY) ## dist/system.airgap, the signed bundle that others start from
	sed -e 's#linux/amd64#linux/$(ARCH)#; s#\.\./build/images#images#; s#\.\./bin/airgap#$(abspath $(BIN))#' \
		airgap-images/system.yaml > $(B)/system.yaml
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOL) build --update -f $(B)/system.yaml -o $(SYSTEM) --key $(AIRGAP_KEY)

podinfo: deps build/podinfo/image/index.json build/podinfo/chart ## build/podinfo, the image and the chart that the demo and the tests install

demo: system podinfo ## from a new key to podinfo answering in a namespace with no route out
	test/demo/demo.sh

# The packages of real nodes run one after another: some look for traces in the whole machine.
test: check system podinfo build/cosign/cosign build/cosign/cosign3 ## everything, with real nodes in namespaces and one whole machine
	go test $(HEAVY)
	$(MAKE) --no-print-directory fuzz
	go test -count=1 $(DESK) ./test/interop -cosign $(abspath build/cosign/cosign),$(abspath build/cosign/cosign3)
	PATH=$(abspath build/cosign):$$PATH go test -count=1 $(DESK) ./cmd/airgap -run TestScripts/key_
	go test -v -count=1 ./test/site ./test/disk
	go test -v -count=1 -timeout=40m ./test/e2e/...
	go test -v -count=1 -timeout=20m ./test/fault/...
	go test -v -count=1 -timeout=20m ./test/vm/stories -run=TestFromStickToSite

check: deps ## format, vet, staticcheck, unit and script tests: all that needs no Kubernetes
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "error: run gofmt -w on the files above" >&2; exit 1; }
	go vet $(DESK) $(LIGHT) ./test/...
	go tool -modfile=.ci/tools.mod staticcheck $(DESK) $(LIGHT)
	go test $(DESK) $(LIGHT) ./test/bench ./test/interop
	cd airgap-images/coredns && GOFLAGS= CGO_ENABLED=0 go test ./...

# What strangers write, and who reads it: a package and a fuzz target each.
# A number of inputs, not a duration: at its deadline Go may take the deadline itself for a failure (go.dev/issue/75804).
FUZZTIME ?= 30000x
FUZZERS  := bundle:FuzzDecodeManifest bundle:FuzzReader bundle/source:FuzzParse bundle/source:FuzzParseLock bundle/source:FuzzNormalize

fuzz: deps ## each parser of what strangers write, all at once for about a minute; FUZZTIME=1000000x for longer
	@printf '%s\n' $(FUZZERS) | xargs -P $(words $(FUZZERS)) -I{} bash -c \
		'at={}; go test $(DESK) -run=NONE -fuzz="^$${at#*:}$$" -fuzztime=$(FUZZTIME) -parallel=2 ./$${at%:*}'

test-site: system ## several machines on a LAN with faults, and the table of docs/site.md; -cut for less than ten minutes: SITE='-cut 1m'
	go test -v -count=1 -timeout=60m ./test/site/stories -table docs/site.md $(SITE)

test-vm: system podinfo ## whole machines of several kinds, with power cuts, and what other processors run, under an emulator; the whole table: VM='-cuts 25 -upgrade-cuts 25 -load-cuts 50 -stable 30m'
	$(MAKE) --no-print-directory ARCH=arm64 system
	go test -v -count=1 -timeout=30m ./test/vm
	go test -v -count=1 -timeout=8h ./test/vm/stories -bound $(VM)

test-fault: system podinfo ## installs killed and failed at hundreds of points, power cut a hundred times: docs/reliability.md; FAULT='-part 2/4' for a quarter of the points
	go test -v -count=1 -timeout=240m ./test/fault -points 200 -cuts 25 -upgrade-cuts 25 -load-cuts 50 $(FAULT)

bench: system podinfo ## measure, in paired runs: the figures of docs/benchmarks.md
	go run ./test/bench

conformance: system build/conformance/images/index.json build/conformance/e2e.test build/conformance/ginkgo ## Kubernetes' own suite against one node: docs/conformance.md
	SOURCE_DATE_EPOCH=$(EPOCH) build/root/bin/airgap build --update -f test/conformance/airgap.yaml \
		-o build/conformance/conformance.airgap --key $(AIRGAP_KEY)
	go run ./test/conformance -report docs/conformance.md $(CONFORMANCE)

clean: ## remove all that was built; the Go caches stay
	rm -rf bin build dist

.PHONY: help build images system podinfo demo test fuzz test-site test-vm test-fault check bench conformance clean deps root

##@ Images

IMAGES = go run ./cmd/airgap-images build --platform linux/$(ARCH)
IMAGE_BUILDER := go.mod $(wildcard cmd/airgap-images/*.go airgap-images/*.go airgap-images/build/*.go)

$(B)/images/index.json: airgap-images/images.yaml $(wildcard airgap-images/*/go.mod $(foreach d,coredns coredns/* traefik/* traefik/*/*,airgap-images/$(d)/*)) $(IMAGE_BUILDER)
	$(IMAGES) -o $(@D)

build/podinfo/image/index.json: $(wildcard test/podinfo/*) $(IMAGE_BUILDER)
	$(IMAGES) -f test/podinfo/image.yaml -o $(@D)

build/conformance/images/index.json: test/conformance/images.yaml $(IMAGE_BUILDER)
	$(IMAGES) -f $< -o $(@D)

# Kubernetes' end-to-end suite with the flags of the node, so that each compiles a package for both.
build/conformance/e2e.test: go.mod
	mkdir -p $(@D)
	go test -c -ldflags '-s -w $(kubernetes_stamp)' -o $@ k8s.io/kubernetes/test/e2e

build/conformance/ginkgo: go.mod
	mkdir -p $(@D)
	go build -o $@ github.com/onsi/ginkgo/v2/ginkgo

# Stock cosign, 2.6 and 3.1, each from its own module, with PKCS #11 as its release called pivkey-pkcs11key: five minutes of processor time each, once.
build/cosign/cosign: test/interop/cosign/go.mod
	mkdir -p $(@D)
	cd test/interop/cosign && GOFLAGS=-trimpath CGO_ENABLED=1 go build -tags pkcs11key -o $(abspath $@) github.com/sigstore/cosign/v2/cmd/cosign

build/cosign/cosign3: test/interop/cosign3/go.mod
	mkdir -p $(@D)
	cd test/interop/cosign3 && GOFLAGS=-trimpath CGO_ENABLED=1 go build -tags pkcs11key -o $(abspath $@) github.com/sigstore/cosign/v3/cmd/cosign

build/podinfo/chart: test/podinfo/go.mod
	mkdir -p $(@D)
	rm -rf $@
	cp -r "$$(cd test/podinfo && go mod download -json github.com/stefanprodan/podinfo | jq -r .Dir)/charts/podinfo" $@
	chmod -R u+w $@

##@ The distribution's tree: what bin/airgap unpacks

module = $(shell go list -m -f '{{.Version}}' $(1))
COMMIT = $(shell git rev-parse --verify -q HEAD || echo 0000000000000000000000000000000000000000)
EPOCH  = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
DATE   = $(shell date -u -d @$(EPOCH) +%Y-%m-%dT%H:%M:%SZ)
K8S    = $(call module,k8s.io/kubernetes)
MINOR  = $(word 2,$(subst ., ,$(K8S)))

# An unstamped kubelet calls itself v0.0.0-master, an unstamped Helm renders for Kubernetes 1.20.
kubernetes_stamp = $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version, \
	-X $(p).gitVersion=$(K8S)+airgap1 -X $(p).gitMajor=1 -X $(p).gitMinor=$(MINOR) \
	-X $(p).gitCommit=$(COMMIT) -X $(p).gitTreeState=clean -X $(p).buildDate=$(DATE))
helm_stamp = -X helm.sh/helm/v3/internal/version.version=$(call module,helm.sh/helm/v3) \
	$(foreach p,lint/rules chartutil,-X helm.sh/helm/v3/pkg/$(p).k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$(p).k8sVersionMinor=$(MINOR))
containerd_stamp = -X github.com/containerd/containerd/v2/version.Version=$(call module,github.com/containerd/containerd/v2)
kine_stamp = -X github.com/k3s-io/kine/pkg/version.Version=$(call module,github.com/k3s-io/kine)
cni_stamp = -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(call module,github.com/containernetworking/plugins)
airgap_stamp = -X main.airgapVersion=$(VERSION) -X main.kubernetesVersion=$(K8S)+airgap1 \
	-X main.containerdVersion=$(call module,github.com/containerd/containerd/v2) -X main.runcVersion=$(call module,github.com/opencontainers/runc) \
	-X main.kineVersion=$(call module,github.com/k3s-io/kine) -X main.helmVersion=$(call module,helm.sh/helm/v3)
tools_stamp = $(helm_stamp) $(containerd_stamp) $(cni_stamp)
all_stamps  = $(airgap_stamp) $(kubernetes_stamp) $(helm_stamp) $(containerd_stamp) $(kine_stamp)

STATIC := -s -w -linkmode external -extldflags '-static'
TARGET := GOARCH=$(ARCH)
TOOL   := build/root/bin/airgap
ifneq ($(ARCH),$(HOST_ARCH))
# A cross compiler, and the target's libseccomp and nft out of Debian's packages for it.
GNU     = $(if $(filter amd64,$(ARCH)),x86_64,aarch64)-linux-gnu
LIB     = $(abspath $(B))/debian/usr/lib/$(GNU)
TARGET += CC=$(GNU)-gcc PKG_CONFIG_LIBDIR=$(LIB)/pkgconfig PKG_CONFIG_SYSROOT_DIR=$(abspath $(B))/debian \
	PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
# Go's cache remembers what pkg-config once said: the library's folder in a checkout that may be gone.
STATIC := -s -w -linkmode external -extldflags '-static -L$(LIB)'
$(TOOL):
	$(MAKE) ARCH=$(HOST_ARCH) root
root: $(TOOL)
endif

# Linked at an address that is no multiple of 2 MiB: the kernel then maps what a program touches, and not every huge page
# around it. docs/decisions/0046 has the figures.
DESK_STATIC = $(subst '-static,'-static -Wl$(comma)-Ttext-segment=0x500000,$(STATIC))
comma      := ,

# go build keeps track of its own dependencies; "tool" is the tool lines of go.mod: runc,
# helm, the CNI plugins.
root: deps $(B)/root/bin/nft
	$(TARGET) CGO_ENABLED=0 go build -ldflags '-s -w' -o $(B)/launcher ./cmd/launcher
	$(TARGET) go build -ldflags "$(STATIC) $(tools_stamp)" -o $(B)/root/bin/ tool ./cmd/containerd-shim-runc-v2
	$(TARGET) CGO_ENABLED=0 go build -ldflags '-s -w' -o $(B)/root/bin/ ./cmd/airgap-policy
	$(TARGET) go build -ldflags "$(STATIC) $(all_stamps)" -o $(B)/root/bin/airgap ./cmd/airgap
	$(TARGET) go build $(DESK) -ldflags "$(DESK_STATIC) $(all_stamps)" -o $(B)/root/bin/airgap-desk ./cmd/airgap

$(BIN): $(B)/contents
	@mkdir -p bin
	go run ./cmd/pack -launcher $(B)/launcher -root $(B)/root -o $@ -zstd 'zstd -q -$(ZSTD_LEVEL) --long=25 -T0'

# Debian's nft with its libraries and its loader, for machines that have none. kube-proxy calls
# it by the hundred: the wrapper starts no process of its own.
ifeq ($(ARCH),$(HOST_ARCH))
NFT := /usr/sbin/nft
$(NFT): | deps
libraries = $$(ldd $(NFT) | grep -o '/[^ ]*')
else
NFT := $(B)/debian/usr/sbin/nft
$(NFT): Makefile
	go run ./cmd/airgap-images unpack --platform linux/$(ARCH) -o $(B)/debian nftables libseccomp-dev
# Each library that one already listed needs, until there is no more.
libraries = $$(new=$(NFT); all=; while [ -n "$$new" ]; do all="$$all $$new"; \
	new=$$(readelf -d $$new | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | sort -u | while read -r l; do \
	case "$$all" in *"/$$l"*) ;; *) echo $(LIB)/$$l;; esac; done); done; echo $${all\#* $(NFT)})
endif

$(B)/root/bin/nft: $(NFT) Makefile
	mkdir -p $(B)/root/bin $(B)/root/lib
	install -m 0755 $(NFT) $(libraries) $(B)/root/lib
	printf '#!/bin/sh\nlib=$${0%%/*}/../lib\nexec "$$lib/%s" --library-path "$$lib" "$$lib/nft" "$$@"\n' \
		$$(cd $(B)/root/lib && echo ld-linux*) > $@
	chmod 0755 $@

dist/development.key: | build
	mkdir -p dist
	build/root/bin/airgap keygen --output-key-prefix dist/development

##@ What the build needs of the machine

# The databases are for the tests, which run their own servers: those that the packages start are stopped.
PACKAGES := build-essential docker-registry iputils-ping libseccomp-dev pkg-config nftables busybox-static zstd skopeo openssl softhsm2 python3 iproute2 jq curl ca-certificates git \
	$(addsuffix -server,mariadb etcd) postgresql
ifneq ($(ARCH),$(HOST_ARCH))
PACKAGES += gcc-$(subst _,-,$(GNU)) libc6-dev-$(ARCH)-cross qemu-user-static
endif

# Only the tests with whole machines need these: QEMU, and what makes images and sticks for it.
test test-vm: PACKAGES += qemu-system-x86 mmdebstrap e2fsprogs fdisk dosfstools mtools exfatprogs exfat-fuse

deps:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		for s in postgresql mariadb etcd; do \
			case " $$missing" in *" $$s"*|*"$$s-server"*) systemctl disable -q --now $$s 2>/dev/null || true;; esac; \
		done; \
	fi
	@go list -m >/dev/null || { echo "error: install Go $$(sed -n 's/^go //p' go.mod) or later from https://go.dev/dl/" >&2; exit 1; }
