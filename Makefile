# Everything here is a line or two; what needs more is a program.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# The first of the ports in a row that `make up` listens on.
PORT_BASE ?= 17440
# How many real nodes `make up` runs Pods on: 0 needs no root.
NODES ?= 0
# 1 runs Kyverno beside the API server, with the policies below policies/kyverno.
KYVERNO ?= 0
# 1 runs a server with OpenBao's API, with secrets for the example fleet.
OPENBAO ?= 0
# 1 installs Aether by its Helm chart, and Flux, as Pods on the nodes.
CHART ?= 0
# 1 runs what makes the fleet's clusters, whose control planes are Pods on the nodes.
CLUSTERS ?= 0
# The version that `make release` makes, such as v0.1.0, and what it is built for.
VERSION ?=
PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64
TEST := $(GO) run ./test/tools/gotest

help: ## List what can be made.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build our programs into bin/.
	@$(GO) build -o bin/ ./cmd/...

tools: ## Build the programs that the platform and the tests run, once, into bin/.
	@$(GO) run ./test/tools/build platform kyverno openbao clusters chart test

node-deps: ## Install what Debian must provide for a real node and is missing (root).
	@needs=$$($(GO) run ./test/tools/build -needs); [ -z "$$needs" ] || { \
		echo "installing $$needs"; apt-get update -qq; apt-get install -y -qq --no-install-recommends $$needs; }

browser: ## Install the browser that the tests of the HTML report open it in (root, Debian).
	@command -v chromium >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

node: ## Build what a real node runs, once, into bin/ (Linux).
	@$(GO) run ./test/tools/build node
	@$(GO) build -o bin/ ./test/machine
	@$(GO) run ./test/images pause probe coredns aether namespace-operator source-controller kustomize-controller

hosted: ## Make the images of what hosted control planes run (Linux).
	@$(GO) run ./test/images etcd kube-apiserver kube-controller-manager kube-scheduler aether-etcd cluster-controller

images: ## Make container images of all our programs, as OCI tars in bin/images/, with bills of materials.
	@$(GO) run ./test/tools/build coredns
	@$(GO) run ./test/images

manifests: ## Write what the Helm chart makes with its defaults to bin/aether.yaml, for kubectl alone.
	@$(GO) run ./test/tools/build helm
	@$(GO) run ./release -manifests bin/aether.yaml

release: ## Make all that is published of VERSION=v0.1.0 into dist/; PLATFORMS=linux/amd64: for that alone.
	@$(GO) run ./test/tools/build helm
	@$(GO) run ./release -version "$(VERSION)" -platforms "$(PLATFORMS)"

generate: ## Make deepcopy functions, CRDs, the reference and the policies' floor.
	@$(GO) run ./test/tools/build generate
	bin/controller-gen object crd:generateEmbeddedObjectMeta=false paths=./api/... output:crd:dir=config/crd
	bin/crd-ref-docs --source-path=api --config=config/api-reference.yaml --renderer=markdown --max-depth=12 --log-level=ERROR --output-path=bin/api.md
	cat -s bin/api.md > docs/reference/api.md
	$(GO) run ./internal/cli/gendocs
	$(GO) run ./policies/floor
	$(GO) run ./charts/generate

verify: generate lint ## Check that generated files are current and the code is clean.
	@changed=$$(git status --porcelain -- api config/crd docs/reference policies/admission charts); \
	if [ -n "$$changed" ]; then \
		git --no-pager diff --stat -- api config/crd docs/reference policies/admission charts; \
		echo "generated files are not current; commit what \`make generate\` makes:"; echo "$$changed"; exit 1; \
	fi

test: tools build ## Run every test that needs no root, on a real API server.
	@$(TEST) -p 2 -timeout 20m $$($(GO) list ./... | grep -v /test/e2e$$)
	@$(MAKE) e2e

e2e: tools build ## Push to a platform of the tests' own and see what becomes of it.
	@$(TEST) -timeout 20m -count=1 ./test/e2e/...

test-node: ## Run the tests that need root and Linux: a real node.
	@if [ "$$(uname)" != Linux ] || [ "$$(id -u)" != 0 ]; then echo "the node tests need root on Linux"; exit 1; fi
	@$(MAKE) tools build node
	@$(TEST) -tags node -timeout 30m -count=1 ./internal/local/machine/... ./test/node/... ./test/incluster/...

e2e-kind: build ## Run the in-cluster proof on kind, with everything from its official chart (Docker, internet).
	@for program in docker kubectl; do command -v $$program >/dev/null || { echo "$$program is not on the PATH"; exit 1; }; done
	@docker info >/dev/null || { echo "Docker does not answer: kind runs nodes as its containers"; exit 1; }
	@$(GO) run ./test/tools/build helm kind
	@$(GO) run ./test/images aether namespace-operator
	@$(TEST) -tags kind -timeout 40m -count=1 ./test/incluster/...

bench: tools build ## Measure, and print what docs/benchmarks.md quotes.
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./controllers/...
	@$(GO) run ./test/tools/build bench
	$(GO) test -run '^$$' -bench PodAdmission -benchtime 1x ./test/kyverno
	$(GO) run ./test/bench/review
	$(GO) run ./test/bench

bench-node: tools build node ## Measure how namespaces are born on two real nodes (root, Linux).
	$(GO) test -tags node -run '^$$' -bench . -benchtime 1x -timeout 20m ./test/node

up: ## Start the platform and push the example fleet; NODES=1: on a real node, KYVERNO=1: with Kyverno, OPENBAO=1: with secrets, CHART=1: by the Helm chart, CLUSTERS=1: with clusters.
	@$(GO) run ./test/tools/build platform $(if $(filter 1,$(KYVERNO)),kyverno) $(if $(filter 1,$(OPENBAO)),openbao) $(if $(filter 1,$(CHART)),chart) $(if $(filter 1,$(CLUSTERS)),clusters)
	@[ -x bin/aether ] || echo "Aether itself (about 4 min on two cores when nothing is cached) …"
	@$(MAKE) build
	@[ $(NODES) = 0 ] || $(MAKE) node
	@[ $(CLUSTERS) = 0 ] || $(MAKE) hosted
	@bin/aether local up --port-base $(PORT_BASE) --nodes $(NODES) --kyverno=$(if $(filter 1,$(KYVERNO)),true,false) \
		--openbao=$(if $(filter 1,$(OPENBAO)),true,false) --chart=$(if $(filter 1,$(CHART)),true,false) --clusters=$(if $(filter 1,$(CLUSTERS)),true,false)

down: ## Stop the platform and remove every trace of it.
	@[ -x bin/aether ] || $(GO) build -o bin/ ./cmd/aether
	@bin/aether local down

status: ## List the platform's processes.
	@bin/aether local status

lint: ## Run the linters.
	@! git grep -nE '^(<{7}|>{7}) ' -- . || { echo "a merge was left half done: see above"; exit 1; }
	@$(GO) run ./test/tools/build lint
	bin/golangci-lint run
	$(GO) vet -tags kind ./test/incluster

fmt: ## Format the Go code.
	gofmt -w -s $$(git ls-files '*.go')

.PHONY: help build tools node-deps browser node hosted images manifests release generate verify test e2e test-node e2e-kind bench bench-node up down status lint fmt
