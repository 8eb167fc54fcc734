# make demo    set up .venv without torch, and simulate the quickstart
# make test    set up everything, torch included, and run the tests
# make check   lint, formatting and types
# make bench   how fast simulations are, on one core; takes minutes, reads $SPINSIM_DATA where it is set
#
# PYTHON    the interpreter for .venv, 3.11 or newer
# TORCH     the requirement for torch
# PIP_ARGS  options for pip install, such as another index: torch from PyPI on Linux is the CUDA build,
#           several gigabytes; an index of CPU builds saves that where there is no GPU
PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt

.PHONY: demo test check bench schema clean

demo: $(VENV)/.installed
	$(BIN)/spinsim simulate scenarios/quickstart.yaml --force

test: $(VENV)/.installed-all
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.installed-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

# the schema that editors read, from what a scenario may say
schema: $(VENV)/.installed
	$(BIN)/spinsim schema > docs/scenario.schema.json

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-all: $(VENV)/.installed
	$(PIP) "$(TORCH)" -e ".[live,dev]"
	@touch $@
