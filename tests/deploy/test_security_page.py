"""The threat model names tests, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_everything_that_is_said_to_hold_names_a_test() -> None:
    held = PAGE.split("## What holds, and what shows it")[1].split("## What is left")[0]
    tables = [line for line in held.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [line for line in tables if "| test |" not in line]
    assert rows and [row for row in rows if "`tests/" not in row] == []
