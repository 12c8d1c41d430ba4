# Every target does its own set-up, on a bare Debian 12 or 13, as root.

SHELL := /bin/sh
PYTHON := /usr/bin/python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -p no:cacheprovider

.PHONY: help demo test quick lint types unit lab bench test-newest clean

help:
	@echo "make demo         a failover in a laboratory of network namespaces, as it happens (a minute)"
	@echo "make test         every test: lint, types, unit and property tests, the laboratory's stories"
	@echo "make quick        lint, types and unit tests only"
	@echo "make test-newest  the unit tests with the newest releases of the libraries"
	@echo "make bench        what it costs, against a shell script that does the same"
	@echo "make clean        remove what the above made here"

.venv/made: pyproject.toml tests/packages.sh
	sh tests/packages.sh
	$(PYTHON) -m venv --clear --system-site-packages .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[dev]'
	touch $@

.venv-newest/made: pyproject.toml tests/packages.sh
	sh tests/packages.sh newest
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check setuptools wheel 'PyGObject<3.52'
	.venv-newest/bin/pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable '.[dev]'
	touch $@

.cache/birds/made: tests/birds.sh .venv/made
	sh tests/birds.sh
	touch $@

demo: .venv/made
	@$(BIN)/python -m tests.lab.demo

test: quick lab

quick: lint types unit

lint: .venv/made
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	shellcheck tests/*.sh tests/lab/*.sh .ci/run
	perl -cw hooks/notify 2>&1 | grep -q 'syntax OK'

types: .venv/made
	$(BIN)/mypy

unit: .venv/made .cache/birds/made
	$(PYTEST) -m 'not lab' tests/unit

lab: .venv/made
	$(PYTEST) -m lab tests/lab

bench: .venv/made
	@$(BIN)/python -m tests.bench

test-newest: .venv-newest/made .cache/birds/made
	.venv-newest/bin/pytest -p no:cacheprovider -m 'not lab' tests/unit

clean:
	rm -rf .venv .venv-newest .cache build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
