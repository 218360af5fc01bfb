# Each of these makes .venv once.
#   make test      lint, types and the fast tests: about five minutes on two cores
#   make test-all  the same with the slow tests: real images, full-size recipes, thousands of damaged files,
#                  signals and stopped jobs at every point; what continuous integration runs
#   make demo      a whole comparison on digits
#   make docs      the documentation site in site/, which can be read without a network
#   make wheel     a wheel in dist/
#   make oracle    Auto-PGD and Square against their authors' code (downloads 42 MB)
#   make soak      random kills and file faults, here and on a cluster, compared with undisturbed runs
#   make lowest    the fast tests with the oldest dependencies allowed
#   make audit     known vulnerabilities of the dependencies (asks a service on the network)
#   make gpu       parity, exactness and speed of one GPU, in nine minutes; again: a comparison on it. Nothing is installed
#   make claims    docs/claims.md from runs/reference
#   make bench     attack steps beside torchattacks' and their own lower bound; convolutions by width; a step of
#                  each training method beside its own lower bound; a loop of one's own beside ours; a step
#                  shared by two processes
# Slow tests are marked `@pytest.mark.slow`. Only make leaves them out: `pytest tests/some_file.py` runs all tests
# of that file, `pytest -m "not slow" tests/some_file.py` its fast ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint types format oracle soak bench claims claims-check gpu lowest audit docs wheel clean

demo: $(VENV)/installed
	$(BIN)/robust-tickets compare --recipe demo --seeds 3

# a file's tests stay on one worker, as they share what they train
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
FAST := -m "not slow"
# idle OpenMP threads sleep instead of spinning, which leaves the cores to the other workers; many tests start a
# Python of their own, which reads compiled modules where they may be kept
PASSIVE := OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE=

test: lint types
	$(PASSIVE) $(BIN)/pytest $(PARALLEL) $(FAST)

test-all: lint types
	$(PASSIVE) $(BIN)/pytest $(PARALLEL) --durations=60

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed-test
	$(BIN)/mypy

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

oracle: $(VENV)/installed-test
	$(BIN)/python -m pip install --editable '.[oracle]'
	$(BIN)/pytest tests/oracles/test_pyautoattack.py

# old releases use what newer ones deprecate, and torch 2.10 warns of how it reads its own exported programs
OLD := -W ignore::DeprecationWarning -W "ignore:The given buffer is not writable:UserWarning"
lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(PYTHON) .ci/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --constraint $(VENV)-lowest/constraints.txt --editable '.[test]'
	$(PASSIVE) $(VENV)-lowest/bin/pytest $(PARALLEL) $(FAST) $(OLD)

audit: $(VENV)/installed
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)-audit/installed.txt
	$(VENV)-audit/bin/pip-audit --no-deps --disable-pip --requirement $(VENV)-audit/installed.txt

soak: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.soak --out runs/bench/soak
	$(BIN)/python -m benchmarks.soak_cluster --out runs/bench/soak-cluster

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.steps --out runs/bench/steps
	$(BIN)/python -m benchmarks.channels --out runs/bench/channels
	$(BIN)/python -m benchmarks.methods --out runs/bench/methods
	$(BIN)/python -m benchmarks.own_loop --out runs/bench/own-loop
	$(BIN)/python -m benchmarks.devices --out runs/bench/devices

# by the environment where there is one, else by the Python that has the packages
gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --out runs/bench/gpu

claims: $(VENV)/installed
	$(BIN)/python -m benchmarks.claims

claims-check: $(VENV)/installed
	$(BIN)/python -m benchmarks.claims --check

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet  # the variable: no notices of other projects

wheel: $(VENV)/installed
	rm -rf build  # else deleted modules would be packed again
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

# the stamps are newer than pyproject.toml, so a second call installs nothing
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "robust-tickets needs Python 3.11 or newer")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "robust-tickets needs Python 3.11 or newer")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --editable '.[test]'
	touch $@ $(VENV)/installed

# apart from the extras of pyproject.toml: torchattacks asks for an older requests than mkdocs-material does, and pip
# installs such a pair one after the other only, with a warning (docs/security.md)
$(VENV)/installed-docs: .ci/docs-requirements.txt pyproject.toml | $(VENV)/installed
	$(BIN)/python -m pip install --requirement $<
	touch $@

clean:
	rm -rf site $(VENV) $(VENV)-lowest $(VENV)-audit build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
