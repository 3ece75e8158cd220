# Every target sets up what it needs: a virtual environment in .venv with this checkout and its tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Each worker of the tests would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint unit bench soak mutants clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("factory needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/factory demo $(KEEP)

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 tests/unit

bench: $(STAMP)
	$(BIN)/python -m tests.bench

soak: $(STAMP)
	FACTORY_SOAK=1 $(BIN)/python -m pytest -n 2 -m soak tests

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
