# Everything that a newcomer, a developer or an operator runs. `make help` lists it.
# Only Rust has to be there; `make setup` installs what else is missing on Debian and Ubuntu.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := target/release
CONNECTIONS ?= 100000
PROFILE ?= 100k
TARGET ?= all
DURATION ?= 60
PREFIX ?= /usr/local

include tools/assurance/targets.mk
include tools/compare/peers.mk

.PHONY: help setup build install demo cluster-demo run test sim freeze soak fuzz check fairness bench sysctl docs book

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-8s\033[0m %s\n", $$1, $$2}'

setup: ## Install what building needs and is missing (a C compiler), with apt-get
	@tools/setup

build: setup ## Build the daemon and the load tool
	@tools/setup-chat
	cargo build --release -p holdfast -p holdfast-bench

install: ## Install the daemon that `make build` made below PREFIX=/usr/local: stripped, its symbols where backtraces find them
	objcopy --only-keep-debug --compress-debug-sections=zlib $(BIN)/holdfast $(BIN)/holdfast.debug
	objcopy --strip-all --add-gnu-debuglink=$(BIN)/holdfast.debug $(BIN)/holdfast $(BIN)/holdfast.stripped
	install -D -m 644 $(BIN)/holdfast.debug $(DESTDIR)$(PREFIX)/bin/.debug/holdfast.debug
	install -D -m 755 $(BIN)/holdfast.stripped $(DESTDIR)$(PREFIX)/bin/holdfast

demo: build ## Hold 100,000 connections on this machine, broadcast to all of them, print the report
	@BIN=$(BIN) CONNECTIONS=$(CONNECTIONS) tools/demo

cluster-demo: build ## Hold CLIENTS=60000 over three nodes behind HAProxy, kill a node and a Redis, report what was lost: reports/cluster-demo.html
	@BIN=$(BIN) tools/cluster-demo

run: build ## Run the daemon with its defaults
	$(BIN)/holdfast serve

test: setup ## Run all tests (those of SDKs are skipped where node, python or Chromium is missing, some of faults without root)
	@tools/setup-sdk
	@tools/setup-chat
	cargo test --workspace

sim: ## Simulate shards on an unkind kernel, and nodes on an unkind Redis: SEEDS=1000 random seeds, or SEED=… to run one again
	$(if $(SEED),SIM_SEED=$(SEED),SIM_SEEDS=$(or $(SEEDS),1000)) cargo test -p holdfast-ring --test simulated -- sockets_keep
	$(if $(SEED),SIM_SEED=$(SEED),SIM_SEEDS=$(or $(SEEDS),1000)) cargo test -p holdfast --lib -- simulation::no_message
	$(if $(SEED),SIM_SEED=$(SEED),SIM_SEEDS=$(or $(SEEDS),1000)) cargo test -p holdfast --lib -- rooms::tests::simulation

freeze: ## Write down what the first simulated seeds come to, after a change that is to change it
	SIM_FREEZE=1 cargo test -p holdfast --lib -- simulation::no_message

soak: ## Use a daemon in all ways for DURATION=60 seconds: its memory has to stay flat and its budgets to become empty
	SOAK_SECONDS=$(DURATION) cargo test -p holdfast --test faults -- soak:: --nocapture

fuzz: ## Fuzz one reader of peers' bytes: TARGET=decoder DURATION=600 (seconds); guided where there is a C++ compiler
	@tools/fuzz/run $(TARGET) $(DURATION)

check: ## Format, lints, documentation, dependency rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	@tools/check-dependencies

fairness: ## Measure what clients get while others use one path as hard as they can: FAIRNESS="--path NAME --seconds N"
	cargo build --release -p holdfast -p holdfast-fairness
	target/release/holdfast-fairness $(FAIRNESS)

bench: build ## Measure what README states, on this machine
	@BIN=$(BIN) CONNECTIONS=$(CONNECTIONS) tools/measure

sysctl: ## Show what the kernel profile PROFILE=10k|100k|1m would change; APPLY=1 applies it, PRINT=1 prints a file for /etc/sysctl.d
	@sysctl/apply $(PROFILE)

docs: build ## Renew the generated pages
	$(BIN)/holdfast config doc --out docs
	$(BIN)/holdfast metrics doc > docs/metrics.md

book: setup ## Build the book into target/book with mdBook (built from its sources the first time), and fail on missing pages and dead links
	mdbook=$$(tools/setup-book) && $$mdbook build docs
	cargo run -q -p holdfast-book -- docs target/book
