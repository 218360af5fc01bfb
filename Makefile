# make demo: the whole job on digits; make test: lint, types and tests; make wheel: a wheel in dist/;
# make oracle: Auto-PGD and Square against their authors' code (fetches 42 MB); make soak: kills and faults.
# Each makes .venv once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types format oracle soak wheel clean

demo: $(VENV)/installed
	$(BIN)/robust-tickets compare --recipe demo

test: lint types
	$(BIN)/pytest

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

soak: $(VENV)/installed
	$(BIN)/python -m benchmarks.soak --out runs/bench/soak

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
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
