# neuralsynth: `make demo` and `make test` set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLAY := $(VENV)/.play
DEV := $(VENV)/.dev

.PHONY: help demo test bench lint clean instruments

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/:/' | column -t -s:

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neuralsynth needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(PLAY): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(DEV): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ $(PLAY)

demo: $(PLAY)  ## render the demo tune with the shipped instruments: demo/low-water.wav and a picture of it
	mkdir -p demo
	$(BIN)/neuralsynth render presets/demo-tune.mid -o demo/low-water.wav --gain 4 --picture demo/low-water.png --force \
	    -p upright-piano --channel 2=alto-sax --channel 3=cello

test: $(DEV)  ## run all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

bench: $(DEV)  ## print the tables of benchmarks/
	$(BIN)/neuralsynth bench
	$(BIN)/python benchmarks/render_speed.py
	-$(BIN)/python benchmarks/axes.py
	-$(BIN)/python benchmarks/morph.py --pairs 12

lint: $(DEV)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy neuralsynth

instruments: $(DEV)  ## rebuild the shipped instruments: make instruments RECORDINGS=folder
	$(BIN)/python export/build.py --recordings $(RECORDINGS)

clean:  ## remove what was built, the environment included
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
