# Atoll. `make` lists the targets.

SHELL := /bin/sh
GO ?= go

DEMO_SECONDS ?= 90
DEMO_RATE ?= 150
DEMO_BREAK ?=
DEMO_WAN_RTT ?= 30ms
DEMO_UNITS ?= 2
DEMO_CELLS ?= 1
DEMO_DIR ?= .atoll/demo
DEMO_PORT_BASE ?= 7000
DEMO_REPORT ?= demo-report.json
MINUTES ?= 2
SEED ?= 0
SEEDS ?= 100000
MOVES ?= 20
SOAK_RATE ?= 200
SOAK_DIR ?= .atoll/soak
SOAK_REPORT ?= soak-report.json
CHAOS_RATE ?= 60
CHAOS_DIR ?= .atoll/chaos
CHAOS_REPORT ?= chaos-report.json
CHAOS_BREAK ?=
TEST_FLAGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what is missing (Debian packages), silent when nothing is
	@GO='$(GO)' scripts/setup.sh

.PHONY: build
build: setup ## build bin/atoll
	@cd server && $(GO) build -trimpath -buildvcs=false -o ../bin/atoll ./cmd/atoll

.PHONY: demo
demo: build ## two data centers, an order flow, two moves under load, a verdict
	@bin/atoll sandbox demo --dir '$(DEMO_DIR)' --port-base '$(DEMO_PORT_BASE)' --seconds '$(DEMO_SECONDS)' \
		--rate '$(DEMO_RATE)' --wan-rtt '$(DEMO_WAN_RTT)' --units '$(DEMO_UNITS)' --cells '$(DEMO_CELLS)' \
		--break '$(DEMO_BREAK)' --report '$(DEMO_REPORT)'

.PHONY: demo-controls
demo-controls: build ## every negative control five times: each must make the verdict fail
	@scripts/demo-controls.sh

.PHONY: soak
soak: build ## MOVES moves in a row at SOAK_RATE orders/s: where the time goes, what leaks
	@bin/atoll sandbox soak --dir '$(SOAK_DIR)' --port-base '$(DEMO_PORT_BASE)' --moves '$(MOVES)' --rate '$(SOAK_RATE)' \
		--wan-rtt '$(DEMO_WAN_RTT)' --report '$(SOAK_REPORT)'

.PHONY: chaos
chaos: build ## moves under load while processes die and links break (SEED=, MINUTES=)
	@bin/atoll sandbox chaos --dir '$(CHAOS_DIR)' --port-base '$(DEMO_PORT_BASE)' --seconds $$(( $(MINUTES) * 60 )) \
		--rate '$(CHAOS_RATE)' --seed '$(SEED)' --report '$(CHAOS_REPORT)' --break '$(CHAOS_BREAK)'

.PHONY: sim
sim: ## the core against SEEDS random histories on a virtual clock, and its ten mistakes (SEED= prints one)
	@cd server && if [ '$(SEED)' = 0 ]; then \
		$(GO) test ./console/mover -run TestSim -count=1 -v -timeout 3h -args -sim.all -sim.seeds '$(SEEDS)'; \
	else $(GO) test ./console/mover -run 'TestSim$$' -count=1 -v -args -sim.seeds 1 -sim.seed '$(SEED)'; fi

.PHONY: test
test: setup ## all tests with the race detector, real servers, end-to-end runs
	$(GO) test -race $(TEST_FLAGS) ./...
	cd server && $(GO) test -race -p 2 $(TEST_FLAGS) ./...
	@$(MAKE) --no-print-directory test-e2e

.PHONY: test-e2e
test-e2e: build ## end-to-end runs of the built program, one of them race-built
	@cd server && $(GO) build -race -trimpath -buildvcs=false -o ../bin/atoll-race ./cmd/atoll
	cd e2e && $(GO) test -count=1 -timeout 25m $(TEST_FLAGS) ./...

.PHONY: check
check: ## format, vet and taste
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...
	cd server && $(GO) vet ./...
	cd e2e && $(GO) vet ./...
	$(GO) test -run Taste .

.PHONY: lint
lint: ## the pinned lint set (builds the linter once: some minutes)
	@scripts/lint.sh

.PHONY: generate
generate: ## generated code from api/atoll/v1/*.proto (needs protoc)
	@scripts/generate.sh

.PHONY: bench
bench: ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./route ./guard ./idgen
	cd server && $(GO) test -run '^$$' -bench . -benchmem ./dbproxy/... ./wire/...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin demo-report*.json chaos-report*.json
