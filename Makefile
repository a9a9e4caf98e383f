# make run     a sample agent on an embedded queue, from a bare checkout
# make test    every test; sets up what the tests need first
# make check   what CI runs: lint, types, documentation, tests with coverage, build, clean installs
# make bench   every benchmark, one table
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev
CONFIG := demo/dropmill.toml

.PHONY: help run test lint types docs build check bench soak services clean

help:
	@sed -n 's/^# //p' Makefile | head -4

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): $(READY) pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --group dev --editable plugins_contrib/dropmill-xlsx
	@touch $@

run: $(READY)
	@test -e $(CONFIG) || $(BIN)/dropmill init demo
	$(BIN)/dropmill run --config $(CONFIG)

services:
	@.ci/services

test: $(DEV) services
	$(BIN)/python $(COVERAGE) -m pytest -n 2 --dist loadgroup $(PYTEST)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

docs: $(DEV) services
	$(BIN)/python docs/build.py --check

build: $(DEV)
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python -m build --quiet --outdir dist plugins_contrib/dropmill-xlsx

check: lint types docs build
	$(BIN)/coverage erase
	$(MAKE) test COVERAGE="-m coverage run"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(DEV) services
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache
