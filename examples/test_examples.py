"""Every example runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_fact_is_corrected_for_one_user_and_taken_back() -> None:
    assert load("correct_a_fact").main() == ["Paris", "Lyon", "Paris", "Paris"]


def test_the_toolkit_edits_and_asks() -> None:
    assert load("langchain_toolkit").main().endswith("Oslo")
