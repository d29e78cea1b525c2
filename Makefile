# make demo: the main job on a real model    make test: the tests    make check: lint, types, layers, the site
# make test-slow: those above five seconds    make zoo: real models    make docs: the site, into build/site
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := demo

.PHONY: demo test test-slow check docs pictures zoo zoo-all clean

demo: $(VENV)/installed
	@mkdir -p $(DEMO)
	$(BIN)/onnx-compress models/digits.onnx -p prune,quantize -o $(DEMO)/digits-small.onnx \
		--data models/digits_train.npz --eval models/digits_test.npz \
		--report $(DEMO)/report.json --report $(DEMO)/report.html --force

test: $(VENV)/installed-tests
	$(BIN)/python -m pytest -n 2 -m "not slow and not network"

test-slow: $(VENV)/installed-tests
	$(BIN)/python -m pytest -n 2 -m "slow and not network"

check: $(VENV)/installed-tests docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py tests/test_operator_tables.py

# Strict: a link or a name that leads nowhere is an error. Needs no network.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The pictures in README and the site, redrawn; needs chromium.
pictures: $(VENV)/installed
	$(BIN)/python docs/images/report.py

zoo: $(VENV)/installed-tests
	$(BIN)/onnx-compress zoo fetch
	$(BIN)/onnx-compress zoo check --jobs 2 -p load-save -p simplify \
		-p quantize-weights:matmul=folded -p prune:ratio=0.2:round=16
	$(BIN)/python -m pytest -m network

# Every pipeline on every model: most of an hour.
zoo-all: $(VENV)/installed-tests
	$(BIN)/onnx-compress zoo fetch
	$(BIN)/onnx-compress zoo check --seconds 600

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(INSTALL) -e '.[test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(INSTALL) -e '.[docs]'
	@touch $@
