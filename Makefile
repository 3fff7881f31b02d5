# quickstart and test work on a bare machine with Python 3.11, with nothing else done before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: quickstart test check selftest bench clean

# --force: a busy host is labeled, not refused, for whoever comes to look.
quickstart: $(VENV)/.quickstart
	$(BIN)/harness run quickstart --force --report reports/quickstart.html

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

selftest: $(VENV)/.quickstart
	$(BIN)/harness selftest

bench: $(VENV)/.bench
	$(BIN)/python -m pytest benchmarks --benchmark-columns=min,median,max,rounds --benchmark-sort=name

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing PyTorch (CPU), ONNX Runtime and the harness into $(VENV); about a minute and a half"
	$(PIP) --editable '.[quickstart]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the harness with its development tools into $(VENV); about a minute and a half"
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.quickstart

$(VENV)/.bench: pyproject.toml constraints.txt $(VENV)/.dev
	$(PIP) --editable '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) build dist
