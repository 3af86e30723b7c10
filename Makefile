# The front door. Each target does its own set-up on a fresh Debian or Ubuntu with a Swift 6.3 toolchain; `make help` lists them.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 600
export TAMIS_ROOT := $(CURDIR)

LIBRARY := .build/release/libtamis.so
PYTHON := .venv/bin/python

.PHONY: help deps build examples demo test bench parity install wheel fuzz asan tsan clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

deps: ## install the system packages that are missing
	@cmake/install_packages.sh

build: deps ## libtamis.so and the command line `tamis`, release
	@cmake/library.sh
	swift build -c release --product tamis-cli
	@ln -sf libtamis.so .build/release/libtamis.so.0

examples: build ## the C and C++ examples, in build/
	cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DTAMIS_LIBRARY=$(CURDIR)/$(LIBRARY) -DTAMIS_EXAMPLES=ON
	cmake --build build

demo: examples ## the haystack demonstration: needles in long text, with each retrieval method
	build/examples/cpp/haystack/tamis-haystack $(DEMO_ARGS)

test: deps $(PYTHON) ## everything; ends with `N passed, N failed`
	@Tests/run.sh

bench: build ## tables of speed and error against peers, measured in the same run
	@if [ -x Benchmarks/run.sh ]; then Benchmarks/run.sh $(BENCH_ARGS); else echo "no Benchmarks/run.sh in this checkout"; exit 1; fi

parity: build ## against reference implementations, in an environment of its own (.venv-parity)
	@if [ -x Tests/parity/run.sh ]; then Tests/parity/run.sh; else echo "parity: 0 passed, 0 failed"; fi

install: deps ## library, headers, pkg-config and CMake files, command line: PREFIX=/usr/local DESTDIR=
	@cmake/commit_header.sh
	cmake -S . -B build/install -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DTAMIS_EXAMPLES=ON -DTAMIS_CLI=ON
	cmake --build build/install
	DESTDIR=$(DESTDIR) cmake --install build/install

wheel: build ## a self-contained Python wheel in dist/
	TAMIS_LIBRARY_PATH=$(CURDIR)/$(LIBRARY) bindings/python/make_wheel.sh

fuzz: deps ## every fuzz target with libFuzzer and AddressSanitizer: FUZZ_SECONDS=600
	@cmake/commit_header.sh
	FUZZ_SECONDS=$(FUZZ_SECONDS) Fuzz/run.sh

asan: deps ## Swift tests, C tests and fuzz drivers under AddressSanitizer
	@Tests/sanitize.sh address

tsan: deps ## the same under ThreadSanitizer
	@Tests/sanitize.sh thread

clean: ## remove everything that was built
	rm -rf .build .build-asan .build-tsan .build-fuzz build dist .venv .venv-parity .venv-wheel Sources/CShims/generated

$(PYTHON): bindings/python/pyproject.toml
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check numpy pytest ml_dtypes tqdm
	@touch $(PYTHON)
