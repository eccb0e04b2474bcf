# `make demo` and `make test` do everything that they need, on a machine with nothing but Python 3.11 or newer.

.PHONY: help demo test soak check e2e image kind-up changelog clean

PYTHON ?= $(shell scripts/find-python)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

help: ## Show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' Makefile

demo: .venv/installed ## Kill all workers in the middle of 100,000 tasks, and see that none is missing
	@$(BIN)/daskqueue demo

test: .venv/installed-dev ## Run all tests; ARGS="-k notebook" chooses some
	@$(BIN)/pytest $(ARGS)

soak: .venv/installed-dev ## Kill processes for ten minutes, then send 10,000,000 messages through one queue
	@scripts/soak $(ARGS)

e2e: .venv/installed-dev ## Run the story on the cluster that KUBECONFIG names; ARGS="tests/e2e/test_crd.py" chooses
	@scripts/e2e $(ARGS)

image: ## Build the image; IMAGE=name:tag, default localhost/daskqueue:dev
	@scripts/build-image $(or $(IMAGE),localhost/daskqueue:dev)

kind-up: ## Start a kind cluster with the operator, from this source; says what is missing
	@scripts/kind-up

check: .venv/installed-dev ## Check format, style, types, layers and documents, as CI does
	@scripts/check

changelog: .venv/installed-dev ## Show what the next release will say
	@$(BIN)/towncrier build --draft --version next

clean: ## Remove the virtual environment and all caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Each stamp is older than pyproject.toml as soon as a dependency changes.
.venv/installed: pyproject.toml
	@echo "Installing daskqueue into .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the tools for tests and checks into .venv (once)"
	@$(PIP) install --editable .[operator] --group dev
	@touch $@
