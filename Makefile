# Every target does its own set-up, on a bare Debian 12 or 13, as root.

SHELL := /bin/sh
PYTHON := /usr/bin/python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -p no:cacheprovider
SUITES := bookworm trixie
STORIES := guests

.PHONY: help demo test quick lint types unit netlab consumers vmlab lab lab-bench bench test-newest fresh man catalog deb package clean

help:
	@echo "make demo         a failover and a handover in a laboratory of network namespaces, as they happen (a minute)"
	@echo "make test         lint, types, unit and property tests, the service's stories in both laboratories, the package's tests"
	@echo "make quick        lint, types and unit tests only, and how much of failoverd/ these execute"
	@echo "make test-newest  the unit tests of all that uses a library, with the newest releases"
	@echo "make fresh        make demo and make quick, on a Debian 12 and a Debian 13 on which nothing is installed (ten minutes)"
	@echo "make netlab       the stories of a failover, in network namespaces"
	@echo "make consumers    the tests with the programs that read what failoverd writes: a browser, monitoring systems"
	@echo "make vmlab        the service's stories, with the package in a virtual machine"
	@echo "make lab          the stories of guests: three virtual machines with Xen and DRBD (half an hour)"
	@echo "make bench        what it costs, against a shell script that does the same"
	@echo "make lab-bench    how long guests take to follow the VIP, against shell scripts (half an hour)"
	@echo "make man          the manual pages, into build/man/"
	@echo "make catalog      systemd/failoverd.catalog, from failoverd/alarms.py"
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

test: quick netlab consumers package vmlab

quick: lint types unit

lint: .venv/made
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	shellcheck tests/*.sh tests/*/*.sh tests/vmlab/site/guest-init tests/vmlab/site/xen-* tests/unit/examples/*.sh examples/router/*-routage packaging/*.sh .ci/run
	for hook in notify fence-peer; do perl -cwT hooks/$$hook 2>&1 | grep -q 'syntax OK' || exit 1; done

types: .venv/made
	$(BIN)/mypy

unit: .venv/made .cache/birds/made
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -p no:cacheprovider -n auto -m 'not lab' tests/unit
	$(BIN)/coverage combine --quiet
	$(BIN)/python -m tests.coverage_gaps

netlab: .venv/made
	$(PYTEST) -n 2 --dist loadfile -m lab tests/lab tests/unit/examples

consumers: .venv/made
	sh tests/packages.sh consumers
	$(PYTEST) -m consumers tests/consumers

vmlab: .venv/made deb
	sh tests/packages.sh vmlab
	$(PYTEST) -m 'vmlab and not guests' tests/vmlab

lab: .venv/made deb
	sh tests/packages.sh vmlab
	$(PYTEST) -n 2 -x -rP --durations=0 --durations-min=5 -m '$(STORIES)' tests/vmlab

lab-bench: .venv/made deb
	sh tests/packages.sh vmlab
	@$(BIN)/python -m tests.vmlab.bench

bench: .venv/made
	@$(BIN)/python -m tests.bench

test-newest: .venv-newest/made .cache/birds/made
	.venv-newest/bin/pytest -p no:cacheprovider -n auto -m 'not lab' tests/unit --ignore tests/unit/core --ignore tests/unit/docs

fresh: .venv/made
	sh tests/packages.sh fresh
	$(BIN)/python -m tests.fresh $(SUITES)

# The package build calls this too, with its own packages: no virtual environment.
man: $(patsubst docs/man/%.scd,build/man/%,$(wildcard docs/man/*.scd))

build/man/%: docs/man/%.scd docs/man/fill.py $(shell find failoverd -name '*.py')
	mkdir -p build/man
	PYTHONPATH=. $(PYTHON) -B docs/man/fill.py $< >$@.new
	mv $@.new $@

# It is in the repository, as packaging installs it; a test says when it has to be made again.
catalog:
	PYTHONPATH=. $(PYTHON) -B systemd/catalog.py >systemd/failoverd.catalog.new
	mv systemd/failoverd.catalog.new systemd/failoverd.catalog

deb:
	sh tests/packages.sh package
	sh packaging/build.sh build/deb dist

package: .venv/made
	sh tests/packages.sh package
	$(PYTEST) -m package tests/package

clean:
	rm -rf .venv .venv-newest .cache build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
