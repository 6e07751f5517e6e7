# One command does everything a machine can check: `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
MIN_FREE_MB ?= 4000
VENV := .venv
BIN := $(VENV)/bin
# The stamp is named by what was installed: another lock, another stamp.
LOCK_HASH := $(shell cat requirements.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
READY := $(VENV)/.ready-$(LOCK_HASH)
# Tests wait for a third of their time, for servers and other processes, so four keep two processors busy.
WORKERS ?= 4
UV ?= uv
# Tests wait for SQLite's and their own small files: in memory, where there is room for them.
FAST_TMP := $(shell df -Pm /dev/shm 2>/dev/null | awk 'NR==2 && $$4 > 8000 {print "/dev/shm"}')
# And what is compiled is kept, whatever the environment says: 100 processes of the tests import it.
# One thread per worker for BLAS and OpenMP: threads that wait for busy cores cost a third of the processor's time.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(if $(FAST_TMP),TMPDIR=$(FAST_TMP)) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# What `make fetch-dinov3` reads, and a model in place of the one named there.
CONFIG ?= config.json
MODEL ?=

.PHONY: help install demo demo-ui fetch-dinov3 check test test-all bench docs pictures ui studio locks clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(READY)  ## set .venv up from requirements.lock

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' here. Install Python 3.11, 3.12 or 3.13, or say which one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "$$($(PYTHON) --version) is not 3.11, 3.12 or 3.13. Say which one to use: make PYTHON=/path/to/python3.11"; exit 1; }
	@free=$$(df -Pm . | awk 'NR==2 {print $$4}'); [ "$$free" -ge $(MIN_FREE_MB) ] || { echo "Only $$free MB free here, the set-up needs $(MIN_FREE_MB). Free some space and run make again."; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); echo "Making $(VENV) …"; $(PYTHON) -m venv $(VENV) || { echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu, install the python3-venv package."; exit 1; }; }
	@echo "Installing the locked packages (about 1 GB, a few minutes) …"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.lock 2>&1 | { grep --line-buffered -vE '^(WARNING: Location|Requirement already|Looking in|  )' || true; } | sed -uE 's/^(Collecting [^ ]+).*/\1/; s/^(Installing collected packages).*/\1 …/; s/^(Successfully installed).*/\1/'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@echo "Compiling for UMAP, once …"
	@$(BIN)/python -c 'from dino_assets.projections.layout import warm_up; warm_up()'
	@rm -f $(VENV)/.ready-*; touch $@

demo: $(READY)  ## two drawn flights through the whole lineage, in a minute
	@$(BIN)/dino-assets demo

demo-ui: $(READY)  ## the Dagster UI of the demo at http://127.0.0.1:3000
	$(BIN)/dino-assets demo --ui

fetch-dinov3: $(READY)  ## the checkpoint that config.json names, whole and verified
	@$(BIN)/dinov3-fetcher --config '$(CONFIG)' $(if $(MODEL),--model '$(MODEL)')

check: $(READY)  ## format, lint, layers, types, documentation, definitions
	@echo "format …"; $(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }
	@echo "lint …"; $(BIN)/ruff check --quiet .
	@echo "layers …"; $(BIN)/lint-imports > .import-linter.log 2>&1 || { cat .import-linter.log; exit 1; }; rm -f .import-linter.log
	@echo "types …"; $(BIN)/mypy
	@echo "documentation …"; NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir .site-check; rm -rf .site-check
	@echo "definitions …"; $(BIN)/python -W ignore -m dagster definitions validate -m dino_assets --log-level error

test: check  ## everything a machine can check, the slow tests left out
	$(PYTEST)

test-all: check  ## the slow tests too
	$(PYTEST) -m 'not gpu and not bench'

bench: $(READY)  ## measure against named peers
	$(BIN)/python -m pytest -m bench -s dino_assets_tests/bench

docs: $(READY)  ## the documentation as a site in site/, its links checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

pictures: $(READY)  ## the documentation's pictures, drawn again from the demo (needs Chromium)
	$(BIN)/python docs/pictures/renew.py

ui: $(READY)  ## the Dagster UI at http://127.0.0.1:3000
	$(BIN)/dino-assets ui

studio: $(READY)  ## label tiles and look at results in the browser
	$(BIN)/dino-assets studio

# Versions are those of requirements.lock. With UV_TORCH_BACKEND=cpu (or UV_FIND_LINKS=FOLDER, where the file is)
# torch is the CPU build; PyPI's own brings gigabytes of CUDA, and the tests refuse it.
locks:  ## the images' packages with hashes (deploy/*.lock); needs uv
	@command -v $(UV) >/dev/null || { echo "No '$(UV)' here. Install it (pip install uv), or say where it is: make locks UV=/path/to/uv"; exit 1; }
	@for name in build service endpoint; do $(UV) pip compile --quiet --upgrade --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-index-url --no-emit-find-links --custom-compile-command 'make locks' --constraints requirements.lock deploy/$$name.in --output-file deploy/$$name.lock; done

clean:  ## remove what was built and cached, not your data
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
