# Everything begins here: `make help` lists the verbs.
#
# Needed to begin with: Python 3.11 or newer, git and make. The rest is installed on the way.

PYTHON ?= python3
PORT ?= 8080
RESET ?=
FULL ?=
# Test processes, each with PostgreSQL clusters of its own. One more than CI has cores: many tests wait.
WORKERS ?= 3
# A browser keeps a core busy by itself.
BROWSERS ?= 2

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# In constraints.txt too, but installed first: the package is then built without fetching them again.
BUILD_TOOLS := hatchling editables
# Twice: Playwright leaves an event loop behind in its process, and asyncio tests trip over it.
PYTEST := $(BIN)/pytest -q --dist worksteal
SQL := src/bookconnect_dm/sql
# The page has no build step; the compiler only checks its JSDoc types.
TYPESCRIPT := 7.0.2
TSC := .venv/typescript/node_modules/.bin/tsc
# What hosts are made with, for the tests of the how-to page's examples; nothing of it is shipped.
HOSTS := react@19.3.1 react-dom@19.3.1 vue@3.5.45 esbuild@0.28.2
DONE := .venv/.stamps

# Node comes in a wheel. Not exported: a new .venv must not be made by the old one's Python.
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"

# Where this is set, each of the hundreds of processes in a run compiles anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench proof format docs screenshots clean tools

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DONE)/server ## two stores, six members, a page to chat on (PORT=8080, RESET=1 starts anew)
	@exec $(BIN)/bookconnect-dm demo --port $(PORT) $(if $(RESET),--reset)

test: $(DONE)/dev $(DONE)/hosts tools check ## check, then all tests, those in a real browser included
	$(PYTEST) -n $(WORKERS) --ignore tests/ui
	$(PYTEST) -n $(BROWSERS) tests/ui

check: $(DONE)/dev $(DONE)/typescript ## formatters, linters, types, import contracts, SQL lints
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache > $(DONE)/imports.log || { cat $(DONE)/imports.log; exit 1; }
	$(BIN)/sqlfluff lint --disable-progress-bar --processes 2 $(SQL) > $(DONE)/sqlfluff.log || { cat $(DONE)/sqlfluff.log; exit 1; }
	$(BIN)/python tools/check_sql.py
	$(BIN)/python tools/write_reference.py --check
	$(BIN)/mkdocs build --strict --site-dir "$(CURDIR)/$(DONE)/site" > $(DONE)/site.log 2>&1 || { cat $(DONE)/site.log; exit 1; }
	$(WITH_NODE) $(TSC) -p tests/ui/tsconfig.json

format: $(DONE)/dev ## put the code into the house's format
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

docs: $(DONE)/dev ## write the reference pages that are made from the code, and the site (site/index.html)
	$(BIN)/python tools/write_reference.py
	$(BIN)/mkdocs build --strict

screenshots: $(DONE)/dev ## a picture of every state of the page, for the docs (Debian: fonts-noto-color-emoji)
	$(BIN)/python tools/take_screenshots.py

bench: $(DONE)/dev ## the benchmarks, into docs/benchmarks.md (FULL=1: the mission's whole year, longer)
	$(BIN)/python -m bench $(if $(FULL),--full)
	$(BIN)/python -m bench.browser

proof: $(DONE)/dev ## the full-size proofs (long)
	PROOF=1 $(PYTEST) -n $(WORKERS) --ignore tests/ui
	PROOF=1 $(PYTEST) -n $(BROWSERS) tests/ui

clean: ## remove what make made; the demo's database too
	rm -rf .venv .demo build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

tools: ## install what the tests need beside Python (Debian as root), else list what is missing
	@sh tools/install-system-tools.sh

# -- the virtual environment -----------------------------------------------------------------

$(DONE)/venv:
	@sh tools/make-venv.sh $(PYTHON)
	@mkdir -p $(DONE) && touch $@

$(DONE)/server: pyproject.toml constraints.txt | $(DONE)/venv
	@echo "Installing the server ..."
	@$(PIP_INSTALL) --no-compile $(BUILD_TOOLS)
	@$(PIP_INSTALL) --no-compile --no-build-isolation -e '.[server]'
	@touch $@

$(DONE)/dev: pyproject.toml constraints.txt $(DONE)/server
	@echo "Installing the tools for development ..."
	@$(PIP_INSTALL) --no-build-isolation -e '.[server,dev]'
	@touch $@

$(DONE)/hosts: Makefile $(DONE)/dev
	@$(WITH_NODE) npm install --silent --no-save --no-package-lock --no-fund --no-audit --prefix .venv/hosts $(HOSTS)
	@touch $@

$(DONE)/typescript: Makefile $(DONE)/dev
	@$(WITH_NODE) npm install --silent --no-save --no-package-lock --no-fund --no-audit --prefix .venv/typescript typescript@$(TYPESCRIPT)
	@touch $@
