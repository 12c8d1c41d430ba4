# Every target does its own set-up, on a bare Debian 12 or 13, as root.

SHELL := /bin/sh
PYTHON := /usr/bin/python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -p no:cacheprovider

.PHONY: help demo test quick lint types unit netlab vmlab lab lab-bench bench test-newest fresh man deb package clean

help:
	@echo "make demo         a failover in a laboratory of network namespaces, as it happens (a minute)"
	@echo "make test         lint, types, unit and property tests, the service's stories in both laboratories, the package's tests"
	@echo "make quick        lint, types and unit tests only"
	@echo "make test-newest  the unit tests with the newest releases of the libraries"
	@echo "make fresh        make demo and make quick, on a Debian 12 and a Debian 13 on which nothing is installed (ten minutes)"
	@echo "make netlab       the stories of a failover, in network namespaces"
	@echo "make vmlab        the service's stories, with the package in a virtual machine"
	@echo "make lab          the stories of guests: three virtual machines with Xen and DRBD (half an hour)"
	@echo "make bench        what it costs, against a shell script that does the same"
	@echo "make lab-bench    how long guests take to follow the VIP, against shell scripts (half an hour)"
	@echo "make man          the manual pages, into build/man/"
	@echo "make deb          the Debian package, into dist/"
	@echo "make package      the tests of the package, with Debian 12 and 13 in chroots"
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

test: quick netlab package vmlab

quick: lint types unit

lint: .venv/made
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	shellcheck tests/*.sh tests/*/*.sh tests/vmlab/site/guest-init tests/vmlab/site/xen-* tests/unit/examples/*.sh packaging/*.sh .ci/run
	perl -cwT hooks/notify 2>&1 | grep -q 'syntax OK'

types: .venv/made
	$(BIN)/mypy

unit: .venv/made .cache/birds/made
	$(PYTEST) -n auto -m 'not lab' tests/unit

netlab: .venv/made
	$(PYTEST) -m lab tests/lab tests/unit/examples

vmlab: .venv/made deb
	sh tests/packages.sh vmlab
	$(PYTEST) -m 'vmlab and not guests' tests/vmlab

lab: .venv/made deb
	sh tests/packages.sh vmlab
	$(PYTEST) -n 2 -x -rP --durations=0 --durations-min=5 -m guests tests/vmlab

lab-bench: .venv/made deb
	sh tests/packages.sh vmlab
	@$(BIN)/python -m tests.vmlab.bench

bench: .venv/made
	@$(BIN)/python -m tests.bench

test-newest: .venv-newest/made .cache/birds/made
	.venv-newest/bin/pytest -p no:cacheprovider -n auto -m 'not lab' tests/unit

fresh: .venv/made
	sh tests/packages.sh fresh
	$(BIN)/python -m tests.fresh bookworm trixie

# The package build calls this too, with its own packages: no virtual environment.
man: $(patsubst docs/man/%.scd,build/man/%,$(wildcard docs/man/*.scd))

build/man/%: docs/man/%.scd docs/man/fill.py $(shell find failoverd -name '*.py')
	mkdir -p build/man
	PYTHONPATH=. $(PYTHON) -B docs/man/fill.py $< >$@.scd
	{ echo "'\\\" t"; scdoc <$@.scd; } >$@.page # its tables are for tbl, which the first line has to say
	rm $@.scd
	mv $@.page $@

deb:
	sh tests/packages.sh package
	sh packaging/build.sh build/deb dist

package: .venv/made
	sh tests/packages.sh package
	$(PYTEST) -m package tests/package

clean:
	rm -rf .venv .venv-newest .cache build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
