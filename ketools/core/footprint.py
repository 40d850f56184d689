"""Resident memory of this process: now, at its peak, and at the peak of one piece of work."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident() -> int:
    """Bytes of resident memory now; where the system does not tell, the most there ever were."""
    return _status("VmRSS") if _STATUS.is_file() else peak()


def peak() -> int:
    """The most bytes of resident memory that this process ever had, or has had since the last `watched` block began."""
    from resource import RUSAGE_SELF, getrusage  # Windows has none

    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * unit


def own_peak() -> int:
    """The most bytes of resident memory that this process had since its program began.

    `peak` also counts what the process that started it held at that moment.
    """
    return _status("VmHWM") if _STATUS.is_file() else peak()


@dataclass
class Footprint:
    """What a block of work needed at its peak, in MB (2**20 bytes) beyond what the process held before it.

    None until the block has ended, and where the system does not tell.
    """

    mb: float | None = None


@contextmanager
def watched() -> Iterator[Footprint]:
    """Watch the resident memory of the process, all its threads, over a block.

    Memory that was freed earlier is given back first: else the block would be served from it unseen. Told on Linux
    with glibc alone.
    """
    found, able = Footprint(), _start_anew()
    before = resident() if able else 0
    yield found
    if able:
        found.mb = max(_status("VmHWM") - before, 0) / MIB


def give_back() -> bool:
    """Give memory that was freed back to the system, as far as the C library can; False where it cannot.

    An allocator keeps it for the next request, and between pieces of different sizes it piles up.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return False
    return True


def _start_anew() -> bool:
    """Give freed memory back and count the peak from here on; False where one of the two cannot be done."""
    if not give_back():
        return False
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    """Bytes of a line of the process' status, such as `VmRSS:    1234 kB`."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
