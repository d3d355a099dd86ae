# make demo: set up and run the main job on a real photo.   make test: set up and pass the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check clean

demo: $(VENV)/.core
	$(BIN)/verax demo --out demo

test: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/test --ignore tests/test_house.py  # scripts/check ran it

check: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Verax needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	# alone: it names torchvision, of which the tests need nothing and which must match torch's build
	$(BIN)/pip install -q -c constraints.txt --no-deps spandrel einops
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
