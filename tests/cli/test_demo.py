"""The demo keeps its promises: a real server process, a real client, the bundled model."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_demo_ends_well_and_prints_its_numbers() -> None:
    command = [sys.executable, "-m", "ketools.cli.main", "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = json.loads(done.stdout)
    assert (numbers["before"], numbers["after"], numbers["other_space"]) == ("Paris", "Lyon", "Paris")
    for promise in ("unrelated_unchanged", "verified", "undo_bit_exact", "consolidated"):
        assert numbers[promise] is True, numbers
    assert numbers["edit_ms"] > 0
