# make demo: the whole job on digits; make test: lint, types and tests; make wheel: a wheel in dist/;
# make oracle: Auto-PGD and Square against their authors' code (fetches 42 MB); make soak: kills and faults;
# make lowest: the tests with the oldest dependencies allowed; make audit: known vulnerabilities.
# make bench: steps beside torchattacks' and their own floor, and convolutions by width. Each makes .venv once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types format oracle soak bench lowest audit wheel clean

demo: $(VENV)/installed
	$(BIN)/robust-tickets compare --recipe demo

# a file's tests stay together, as they share what they train; long files of few tests do not come last
PARALLEL := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# threads that wait leave the cores to the other tests
PASSIVE := OMP_WAIT_POLICY=PASSIVE

test: lint types
	$(PASSIVE) $(BIN)/pytest $(PARALLEL)

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

# the tests with the oldest releases of the dependencies that pyproject.toml allows, which are behind what
# others deprecate; torch 2.10 warns of how it reads its own programs
OLD := -W ignore::DeprecationWarning -W "ignore:The given buffer is not writable:UserWarning"
lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(PYTHON) .ci/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --constraint $(VENV)-lowest/constraints.txt --editable '.[test]'
	$(PASSIVE) $(VENV)-lowest/bin/pytest $(PARALLEL) $(OLD)

# known vulnerabilities of what is installed; asks an advisory service on the network
audit: $(VENV)/installed
	$(PYTHON) -m venv --clear $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > $(VENV)-audit/installed.txt
	$(VENV)-audit/bin/pip-audit --no-deps --disable-pip --requirement $(VENV)-audit/installed.txt

soak: $(VENV)/installed
	$(BIN)/python -m benchmarks.soak --out runs/bench/soak

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.steps --out runs/bench/steps
	$(BIN)/python -m benchmarks.channels --out runs/bench/channels

wheel: $(VENV)/installed
	rm -rf build  # what was removed must not come back
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

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-audit build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
