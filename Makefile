# Everything happens inside this checkout: the tools live in .venv, their caches in dot folders beside it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check check-long bench docs fmt picture reference schemas

# Hundreds of tests start the program anew: it must not be compiled each time.
export PYTHONDONTWRITEBYTECODE =

PYTHON ?= python3
WORKERS ?= 3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
DEFINITION := pyproject.toml hatch_build.py renku_store/_version.py renku_store/drivers/_bulk.c

help:
	@echo "make demo        build the sample movie into ./demo-build"
	@echo "make check       linters, types and tests, as .ci/run does"
	@echo "make check-long  the runs that take long"
	@echo "make bench       the measurements in benchmarks/, quickly"
	@echo "make docs        build the documentation as a site into ./site, and check every link in it"
	@echo "make fmt         format the code"
	@echo "make picture     record the picture of README.md anew, from a real run, and draw those of the benchmarks"
	@echo "make reference   write the pages of docs/reference/ that are made from the code"
	@echo "make schemas     write schema/json/ anew from the records"

demo: .venv/.with-demo
	@"$(BIN)/renku-store" demo

check: .venv/.with-dev
	@echo "ruff check" && "$(BIN)/ruff" check .
	@echo "ruff format" && "$(BIN)/ruff" format --check .
	@echo "mypy, basedpyright" && { "$(BIN)/python" -m mypy & mypy=$$!; "$(BIN)/python" -m basedpyright; strict=$$?; \
		wait $$mypy && exit $$strict; }
	@echo "lint-imports" && "$(BIN)/lint-imports" --cache-dir .import_linter_cache > .import_linter_cache.log 2>&1 \
		&& tail -n 2 .import_linter_cache.log || { cat .import_linter_cache.log; exit 1; }
	@echo "pytest" && "$(BIN)/python" -m pytest -q -n $(WORKERS) --dist loadfile

check-long: .venv/.with-dev .venv/.with-docs .venv/.with-spin
	@HYPOTHESIS_PROFILE=long "$(BIN)/python" -m pytest -q -n $(WORKERS) -m "long or not long"

bench: .venv/.with-dev
	@"$(BIN)/python" benchmarks/run.py

docs: .venv/.with-docs
	@"$(BIN)/python" docs/building/site_build.py site && echo "Open site/index.html"

fmt: .venv/.with-dev
	@"$(BIN)/ruff" check --fix-only --quiet .
	@"$(BIN)/ruff" format .

picture: .venv/.with-demo
	@"$(BIN)/python" docs/building/demo_picture.py
	@"$(BIN)/python" docs/building/growth_pictures.py

reference: .venv/.with-dev
	@"$(BIN)/python" docs/building/reference_pages.py

schemas: .venv/.with-dev
	@"$(BIN)/python" schema/generate.py

.venv/.with-demo: $(DEFINITION) | .venv/.made
	@echo "Installing what the demo needs into .venv (the first time only) ..."
	@$(PIP) --editable '.[demo]'
	@touch "$@"

.venv/.with-dev: $(DEFINITION) | .venv/.made
	@echo "Installing what the checks need into .venv (the first time only) ..."
	@$(PIP) --editable '.[demo,dev]'
	@touch .venv/.with-demo "$@"

.venv/.with-docs: $(DEFINITION) | .venv/.made
	@echo "Installing what the site needs into .venv (the first time only) ..."
	@$(PIP) --editable '.[docs]'
	@touch "$@"

# The model checker that tests/models runs: the system's, or Debian's package unpacked beside everything else.
.venv/.with-spin: | .venv/.made
	@command -v spin > /dev/null || { \
		echo "Unpacking spin into .venv (the first time only) ..." && rm -rf .venv/spin && mkdir .venv/spin && cd .venv/spin \
		&& apt-get download -qq spin 2> download.log && dpkg-deb --extract spin_*.deb . && ./usr/bin/spin -V > /dev/null; } || { \
		echo "There is no spin here, and it cannot be had from apt: install it (https://spinroot.com)." >&2; exit 1; }
	@command -v cc > /dev/null || { echo "spin needs a C compiler (on Debian: apt-get install gcc libc6-dev)." >&2; exit 1; }
	@touch "$@"

.venv/.made:
	@command -v "$(PYTHON)" > /dev/null || { echo "There is no $(PYTHON) here; Renku Store needs Python 3.11 or newer." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Renku Store needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1)." \
			"Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { \
		echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)." >&2; exit 1; }
	@touch "$@"
