# Two commands matter: `make demo` and `make test`. Both set everything up from a bare Python 3.11.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
JUNK := build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: setup demo test check format schemas clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/ketools demo

test: check
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ketools agents examples tests
	$(BIN)/ketools schemas --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: setup
	$(BIN)/ketools schemas

clean:
	rm -rf $(VENV) $(JUNK)
