"""Resident memory of this process, now and at its peak."""

from __future__ import annotations

import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

MIB = 2**20


def resident() -> int:
    """Bytes of resident memory now; where the system does not tell, the most there ever were."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * 4096
    return peak()


def peak() -> int:
    """The most bytes of resident memory that this process ever had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit
