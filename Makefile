# Everything begins here: `make help` lists the verbs.
#
# Needed to begin with: Python 3.11 or newer, git and make. The rest is installed on the way.

PYTHON ?= python3
PORT ?= 8080
RESET ?=
# Two test processes: each has PostgreSQL clusters of its own.
WORKERS ?= 2

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# In constraints.txt too, but installed first: the package is then built without fetching them again.
BUILD_TOOLS := hatchling editables
SQL := src/bookconnect_dm/sql
UI := src/bookconnect_dm/ui
TS := .venv/.stamps

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench proof format docs clean tools

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(TS)/server ## two stores, six members, a page to chat on (PORT=8080, RESET=1 starts anew)
	@exec $(BIN)/bookconnect-dm demo --port $(PORT) $(if $(RESET),--reset)

test: $(TS)/dev tools check ## check, then all tests, those in a real browser included
	@sh tools/test-javascript.sh
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

check: $(TS)/dev ## formatters, linters, types, import contracts, SQL lints
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache > $(TS)/imports.log || { cat $(TS)/imports.log; exit 1; }
	$(BIN)/sqlfluff lint --disable-progress-bar --processes 2 $(SQL) > $(TS)/sqlfluff.log || { cat $(TS)/sqlfluff.log; exit 1; }
	$(BIN)/squawk --quiet $(SQL)/host/*.sql $(SQL)/functions/*.sql $(SQL)/migrations/*.sql
	$(BIN)/python tools/check_pgspot.py
	$(BIN)/python tools/write_reference.py --check
	@sh tools/check-javascript.sh $(UI) tests/ui

format: $(TS)/dev ## put the code into the house's format
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

docs: $(TS)/dev ## write the reference pages that are made from the code
	$(BIN)/python tools/write_reference.py

bench: $(TS)/dev ## the benchmarks
	$(BIN)/python -m bench

proof: $(TS)/dev ## the full-size proofs (long)
	PROOF=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

clean: ## remove what make made; the demo's database too
	rm -rf .venv .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

tools: ## install what the tests need beside Python (Debian as root), else list what is missing
	@sh tools/install-system-tools.sh

# -- the virtual environment -----------------------------------------------------------------

$(TS)/venv:
	@sh tools/make-venv.sh $(PYTHON)
	@mkdir -p $(TS) && touch $@

$(TS)/server: pyproject.toml constraints.txt | $(TS)/venv
	@echo "Installing the server ..."
	@$(PIP_INSTALL) --no-compile $(BUILD_TOOLS)
	@$(PIP_INSTALL) --no-compile --no-build-isolation -e '.[server]'
	@touch $@

$(TS)/dev: pyproject.toml constraints.txt $(TS)/server
	@echo "Installing the tools for development ..."
	@$(PIP_INSTALL) --no-build-isolation -e '.[server,dev]'
	@touch $@
